//! What talking costs: each primitive of the contract, many times in a row, in microseconds.
//!
//! The root measures. The others are its partners, and each does one thing for as long as it lives.

mod partner;
mod report;

use std::error::Error;
use std::fmt::Display;
use std::time::{Duration, Instant};

use wasm_pool_guest::mailbox::{self, Data, Incoming, Message, Outgoing};
use wasm_pool_guest::{process, program, talk};

use crate::partner::{Drain, Partners};
use crate::report::{Format, Row};

/// The sizes of messages, in bytes: a number, a small request, a small file.
const SIZES: &[usize] = &[8, 1024, 64 * 1024];

/// That of operations whose messages, if any, are empty.
const NO_SIZE: &[usize] = &[0];

/// Operations in a batch. All its messages fit into one mailbox with the host's default limits.
const MOST_OPERATIONS: usize = 1000;
const MOST_BYTES: usize = 4 * 1024 * 1024;

/// Batches, if the command line doesn't say. Odd, so that the median is one of them.
const ROUNDS: usize = 15;

/// More than any batch takes. It is over only if something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

const USAGE: &str = "known are `json`, and the number of batches, at least 1";

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The time of one operation. Whole numbers will do, and need no formatting of floating point.
type Picoseconds = u64;

/// One batch of messages of this size: how long one operation took.
type Batch = fn(&Partners, usize) -> Outcome<Picoseconds>;

const OPERATIONS: &[(&str, &[usize], Batch)] = &[
    ("send", SIZES, send),
    ("receive", SIZES, receive),
    ("try-receive", SIZES, try_receive),
    ("try-receive, none", NO_SIZE, try_receive_none),
    ("round trip", SIZES, round_trip),
    ("send-and-receive", SIZES, send_and_receive),
    ("call", SIZES, call),
    ("send-wait", SIZES, send_wait),
    ("spawn, first message", NO_SIZE, spawn),
];

program!(pingpong);

fn pingpong() {
    let args = process::args();
    match process::parent() {
        None => root(&args),
        Some(root) => partner::run(root, &args),
    }
}

fn root(args: &[String]) {
    let done = match arguments(args) {
        Some((rounds, format)) => measure(rounds, format),
        None => give_up(2, USAGE),
    };
    if let Err(error) = done {
        give_up(1, error);
    }
}

fn measure(rounds: usize, format: Format) -> Outcome<()> {
    let partners = Partners::start()?;
    format.begin(rounds);
    for &(operation, sizes, batch) in OPERATIONS {
        let mut figures = Vec::with_capacity(sizes.len());
        for &bytes in sizes {
            figures.push((bytes, median(rounds, || batch(&partners, bytes))?));
        }
        format.row(&Row { operation, figures });
    }
    Ok(())
}

/// The median of so many batches, after one that doesn't count.
fn median(rounds: usize, mut batch: impl FnMut() -> Outcome<Picoseconds>) -> Outcome<Picoseconds> {
    batch()?;
    let mut times = (0..rounds).map(|_| batch()).collect::<Outcome<Vec<_>>>()?;
    times.sort_unstable();
    Ok(times[rounds / 2])
}

/// To a process that sleeps on: putting the message into its mailbox, and nothing else.
fn send(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let time = fill(partners, bytes)?;
    drain(partners, Drain::Receive, bytes)?;
    Ok(time)
}

/// From a mailbox that is full of messages: taking one out, and nothing else.
fn receive(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    fill(partners, bytes)?;
    drain(partners, Drain::Receive, bytes)
}

/// As before, by the call that would not wait.
fn try_receive(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    fill(partners, bytes)?;
    drain(partners, Drain::TryReceive, bytes)
}

/// From an empty mailbox.
fn try_receive_none(_: &Partners, _: usize) -> Outcome<Picoseconds> {
    let start = Instant::now();
    for _ in 0..MOST_OPERATIONS {
        if mailbox::try_receive().is_some() {
            return Err("a message that nobody should have sent".into());
        }
    }
    Ok(each(start.elapsed(), MOST_OPERATIONS))
}

/// There and back: two messages, each to a process that waits for it.
fn round_trip(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let mut ball = message(bytes);
    let start = Instant::now();
    for _ in 0..count(bytes) {
        mailbox::send(partners.echo, ball)?;
        ball = Outgoing::Data(data(mailbox::receive())?);
    }
    Ok(each(start.elapsed(), count(bytes)))
}

/// As before, and each of the two sends and waits by one call to the host.
fn send_and_receive(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let mut ball = message(bytes);
    let start = Instant::now();
    for _ in 0..count(bytes) {
        let back = mailbox::send_and_receive(partners.server, ball)?;
        ball = Outgoing::Data(data(back)?);
    }
    Ok(each(start.elapsed(), count(bytes)))
}

/// Until a process that does nothing but receive has taken it.
fn send_wait(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let timeout = talk::milliseconds(PATIENCE);
    let messages = messages(bytes);
    let start = Instant::now();
    for message in messages {
        mailbox::send_wait(partners.taker, message, timeout)?;
    }
    Ok(each(start.elapsed(), count(bytes)))
}

/// A round trip that looks like a procedure call.
fn call(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let arguments = vec![0; bytes];
    let start = Instant::now();
    for _ in 0..count(bytes) {
        talk::call(partners.server, &arguments, PATIENCE)?;
    }
    Ok(each(start.elapsed(), count(bytes)))
}

/// From wanting a process to hearing from it.
fn spawn(_: &Partners, _: usize) -> Outcome<Picoseconds> {
    /// A spawn takes longer than a message, and the batch should not.
    const SPAWNS: usize = 100;
    let start = Instant::now();
    for _ in 0..SPAWNS {
        spawn_one(partner::HELLO)?;
    }
    Ok(each(start.elapsed(), SPAWNS))
}

/// Returns when the new process has run so far that it has sent a message.
fn spawn_one(role: &str) -> Outcome<()> {
    partner::spawn(role)?;
    let hello = mailbox::receive_timeout(talk::milliseconds(PATIENCE));
    data(hello.ok_or("a new process says nothing")?)?;
    Ok(())
}

/// Sends a batch to the sink, which waits in a call and doesn't wake up.
fn fill(partners: &Partners, bytes: usize) -> Outcome<Picoseconds> {
    let messages = messages(bytes);
    let start = Instant::now();
    for message in messages {
        mailbox::send(partners.sink, message)?;
    }
    Ok(each(start.elapsed(), count(bytes)))
}

/// Wakes the sink, which receives the batch: how long it took for each, by its own clock.
fn drain(partners: &Partners, how: Drain, bytes: usize) -> Outcome<Picoseconds> {
    let nanoseconds = partners.drain(how, count(bytes))?;
    Ok(each(Duration::from_nanos(nanoseconds), count(bytes)))
}

/// How many messages of this size make a batch.
fn count(bytes: usize) -> usize {
    MOST_OPERATIONS.min(MOST_BYTES / bytes)
}

fn messages(bytes: usize) -> Vec<Outgoing> {
    (0..count(bytes)).map(|_| message(bytes)).collect()
}

fn message(bytes: usize) -> Outgoing {
    Outgoing::Data(Data {
        tag: 0,
        bytes: vec![0; bytes],
    })
}

/// What a partner has said, unless it has ended.
fn data(message: Message) -> Outcome<Data> {
    match message.content {
        Incoming::Data(data) => Ok(data),
        Incoming::Down(down) => {
            Err(format!("partner {} has ended: {:?}", down.pid, down.exit).into())
        }
        Incoming::Call(_) => Err("a call that nobody should have made".into()),
        Incoming::Request(_) => Err("this is no web server".into()),
    }
}

/// For each of so many operations.
fn each(time: Duration, operations: usize) -> Picoseconds {
    let all = time.as_nanos() * 1000;
    Picoseconds::try_from(all / operations as u128).unwrap_or(Picoseconds::MAX)
}

fn arguments(args: &[String]) -> Option<(usize, Format)> {
    let (mut rounds, mut format) = (ROUNDS, Format::Table);
    for arg in args {
        match arg.as_str() {
            "json" => format = Format::Json,
            number => rounds = number.parse().ok().filter(|&rounds| rounds > 0)?,
        }
    }
    Some((rounds, format))
}

fn give_up(code: u32, reason: impl Display) -> ! {
    eprintln!("pingpong: {reason}");
    talk::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_in_any_order() {
        let arguments = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
            arguments(&args)
        };
        let measure = |rounds, format| Some((rounds, format));
        assert_eq!(arguments(&[]), measure(ROUNDS, Format::Table));
        assert_eq!(arguments(&["json"]), measure(ROUNDS, Format::Json));
        assert_eq!(arguments(&["3", "json"]), measure(3, Format::Json));
        assert_eq!(arguments(&["json", "3"]), measure(3, Format::Json));
        assert_eq!(arguments(&["0"]), None);
        assert_eq!(arguments(&["xml"]), None);
    }

    #[test]
    fn a_batch_fits_into_a_mailbox() {
        assert_eq!(count(8), 1000);
        assert_eq!(count(1024), 1000);
        assert_eq!(count(64 * 1024), 64);
    }
}
