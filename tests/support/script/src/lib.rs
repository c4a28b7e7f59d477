//! A *script* says what a worker does with a request, step by step. The workers of the tests speak
//! different contracts, and all of them run scripts: so one test has each contract do the same.
//!
//! `/do?head&write=65536&trap` has its script in its query. The paths below `/table` have theirs
//! here: they are what a worker in any language can answer.

use std::hint::black_box;

/// What a worker does next.
#[derive(Clone, Debug)]
pub enum Step {
    /// The status of the response, `200` if there is no such step. Before `Head`.
    Status(u16),
    /// A field of the response. Before `Head`.
    Field(String, Vec<u8>),
    /// Sends the head.
    Head,
    /// Sends the head of a response whose body is never begun.
    Bare,
    /// Writes this text.
    Say(Vec<u8>),
    /// Writes this many bytes.
    Write(usize),
    /// Writes the body of the request, piece by piece, and adds its trailers to the response's.
    Echo,
    /// Reads the whole body of the request, and writes how many bytes it has.
    Count,
    /// Reads the first piece of the request's body.
    Read,
    /// Writes method, target, scheme, authority and fields of the request, a line for each.
    Describe,
    /// A trailer of the response.
    Trailer(String, Vec<u8>),
    /// Ends the response's body. A script without this step does so at its end.
    Finish,
    /// Loses the handle of the response's body, without ending it.
    Forget,
    /// Gives up the response's body.
    Abort,
    /// Waits, this many milliseconds.
    Sleep(u64),
    /// Computes for ever.
    Spin,
    /// Executes an instruction that wasm defines as a failure.
    Trap,
    /// Asks for memory until there is no more.
    Memory,
    /// Ends the process with this code.
    Exit(i32),
    /// Answers with an error instead of a response.
    Refuse,
    /// Never frees this many of the host's resources.
    Leak(usize),
    /// Starts this many tasks that wait for a minute.
    Tasks(usize),
    /// Prints a line to standard output.
    Print(String),
    /// Skips the steps that follow, the end of the body too.
    Return,
}

/// What a script depends on.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method, as it came.
    pub method: &'a str,
    /// Path and query, as they came.
    pub target: &'a str,
    /// The fields, as they came. Their names may be in any case.
    pub fields: &'a [(String, Vec<u8>)],
}

/// The script for this request.
#[must_use]
pub fn steps(asked: Asked<'_>) -> Vec<Step> {
    let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
    if path == "/do" {
        return query.split('&').map(step).collect();
    }
    match path.strip_prefix("/table") {
        Some(path) => table(asked, path, query),
        None => vec![Step::Status(404), Step::Head],
    }
}

/// The pace of this host, in milliseconds: `--env PACE=NUMBER`.
fn pace() -> u64 {
    let pace = std::env::var("PACE").expect("a pace");
    pace.parse().expect("a number")
}

/// A step from its text, `NAME` or `NAME=VALUE`. A text that is none is a failure.
fn step(text: &str) -> Step {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let number = || value.parse::<u32>().expect("a number");
    let pair = || {
        let (name, value) = value.split_once(':').expect("a name and a value");
        (name.to_owned(), value.as_bytes().to_vec())
    };
    match name {
        "status" => Step::Status(value.parse().expect("a status")),
        "field" => {
            let (name, value) = pair();
            Step::Field(name, value)
        }
        "trailer" => {
            let (name, value) = pair();
            Step::Trailer(name, value)
        }
        "head" => Step::Head,
        "bare" => Step::Bare,
        "say" => Step::Say(value.as_bytes().to_vec()),
        "write" => Step::Write(number() as usize),
        "echo" => Step::Echo,
        "count" => Step::Count,
        "read" => Step::Read,
        "describe" => Step::Describe,
        "finish" => Step::Finish,
        "forget" => Step::Forget,
        "abort" => Step::Abort,
        "sleep" => Step::Sleep(number().into()),
        "pace" => Step::Sleep(pace()),
        "spin" => Step::Spin,
        "trap" => Step::Trap,
        "memory" => Step::Memory,
        "exit" => Step::Exit(value.parse().expect("a code")),
        "refuse" => Step::Refuse,
        "leak" => Step::Leak(number() as usize),
        "tasks" => Step::Tasks(number() as usize),
        "print" => Step::Print(value.to_owned()),
        "return" => Step::Return,
        _ => panic!("no such step: {text}"),
    }
}

/// The script for a path of the table of behaviour.
fn table(asked: Asked<'_>, path: &str, query: &str) -> Vec<Step> {
    let text = |text: Vec<u8>| vec![Step::Head, Step::Say(text)];
    let given = |name: &str| {
        let fields = asked.fields.iter();
        let values = fields.filter(|field| field.0.eq_ignore_ascii_case(name));
        let values: Vec<&[u8]> = values.map(|field| field.1.as_slice()).collect();
        values.join(&b", "[..])
    };
    match path {
        "/echo" => vec![
            Step::Field("content-type".into(), given("content-type")),
            Step::Head,
            Step::Echo,
        ],
        "/method" => text(asked.method.into()),
        "/fields" => vec![
            Step::Field("set-cookie".into(), b"a=1".into()),
            Step::Field("set-cookie".into(), b"b=2".into()),
            Step::Head,
            Step::Say(given("x-test")),
        ],
        "/status" => vec![Step::Status(query.parse().expect("a status")), Step::Head],
        "/crash" => vec![Step::Trap],
        "/spin" => vec![Step::Spin],
        "/memory" => vec![Step::Memory],
        _ if path.starts_with("/target/") => text(asked.target.into()),
        _ => vec![Step::Status(404), Step::Head],
    }
}

impl Step {
    /// Runs a step that is the same in all contracts. Returns whether this is one.
    pub fn is_run_anywhere(&self) -> bool {
        match self {
            Self::Spin => loop {
                black_box(());
            },
            Self::Trap => trap(),
            Self::Memory => exhaust(),
            Self::Exit(code) => std::process::exit(*code),
            Self::Print(line) => {
                println!("{line}");
                true
            }
            Self::Status(_)
            | Self::Field(..)
            | Self::Head
            | Self::Bare
            | Self::Say(_)
            | Self::Write(_)
            | Self::Echo
            | Self::Count
            | Self::Read
            | Self::Describe
            | Self::Trailer(..)
            | Self::Finish
            | Self::Forget
            | Self::Abort
            | Self::Sleep(_)
            | Self::Refuse
            | Self::Leak(_)
            | Self::Tasks(_)
            | Self::Return => false,
        }
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

fn exhaust() -> ! {
    const PIECE_BYTES: usize = 1 << 20;
    let mut kept = Vec::new();
    loop {
        kept.push(vec![1_u8; PIECE_BYTES]);
        black_box(&kept);
    }
}
