//! A worker that does on request what no worker should: each path is one way to go wrong, and a few
//! are ways to see what arrives. For crash drills and for the host's own tests.

use std::hint::black_box;
use std::time::Duration;

use wasm_pool_guest::{Body, FileSlice, Request, Response, files, handler};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

type Answer = fn(&Request) -> Response;

/// Every path there is, in the order of the README.
const ROUTES: &[(&str, Answer)] = &[
    ("/ok", ok),
    ("/echo", echo),
    ("/file", file),
    ("/print", print),
    ("/flood", flood),
    ("/trap", trap),
    ("/panic", panic),
    ("/abort", abort),
    ("/exit", exit),
    ("/spin", spin),
    ("/slow", slow),
    ("/compute", compute),
    ("/stack", stack),
    ("/oom", oom),
    ("/grow", grow),
    ("/leak-files", leak_files),
    ("/long-path", long_path),
    ("/big", big),
    ("/bad-response", bad_response),
];

handler!(misbehave);

fn misbehave(request: Request) -> Response {
    match ROUTES.iter().find(|(path, _)| *path == request.path) {
        Some((_, run)) => run(&request),
        None => Response::text(404, "There is no such way to go wrong.\n"),
    }
}

/// Nothing goes wrong.
fn ok(_: &Request) -> Response {
    Response::text(200, "ok\n")
}

/// The request as it came in, without its id and the client's address, which change each time.
fn echo(request: &Request) -> Response {
    let mut dump = format!("{} {}", request.method, request.path).into_bytes();
    if let Some(query) = &request.query {
        dump.extend([b"?", query.as_bytes()].concat());
    }
    dump.push(b'\n');
    for field in &request.headers {
        dump.extend([field.name.as_bytes(), b": ", &field.value, b"\n"].concat());
    }
    dump.push(b'\n');
    dump.extend(&request.body);
    Response::new(200)
        .with_header("content-type", "text/plain; charset=utf-8")
        .with_body(dump)
}

/// The file at `?path=` (`index.html` if not given), handed over to the host.
fn file(request: &Request) -> Response {
    let path = request.parameter("path").unwrap_or("index.html");
    match files::open(path) {
        Ok(opened) => {
            let mut response = Response::new(200);
            response.body = Body::File(FileSlice {
                file: opened.file,
                offset: 0,
                length: opened.metadata.size,
            });
            response
        }
        Err(error) => Response::text(404, format!("{}\n", error.name())),
    }
}

/// One line on standard output, one on standard error: both are for the log.
fn print(_: &Request) -> Response {
    println!("a line on standard output");
    eprintln!("a line on standard error");
    Response::text(200, "printed\n")
}

/// Printing `?lines=` lines (100,000 if not given).
fn flood(request: &Request) -> Response {
    let lines = number(request, "lines").unwrap_or(100_000);
    for line in 0..lines {
        println!("line {line}");
    }
    Response::text(200, format!("printed {lines} lines\n"))
}

/// An instruction that wasm defines as a failure.
fn trap(_: &Request) -> Response {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// A bug that Rust notices: it prints where, and traps.
fn panic(_: &Request) -> Response {
    panic!("this worker was asked to panic");
}

/// Giving up without a word.
fn abort(_: &Request) -> Response {
    std::process::abort();
}

/// Leaving in the middle of a request. WASI 0.2 passes on whether `?code=` is 0 (`3` if not given),
/// and not which.
fn exit(request: &Request) -> Response {
    let code = request.parameter("code").and_then(|code| code.parse().ok());
    std::process::exit(code.unwrap_or(3));
}

/// Computing for ever.
fn spin(_: &Request) -> Response {
    loop {
        black_box(());
    }
}

/// Waiting inside a call to the host, for `?ms=` milliseconds (1000 if not given).
fn slow(request: &Request) -> Response {
    let milliseconds = number(request, "ms").unwrap_or(1000);
    std::thread::sleep(Duration::from_millis(milliseconds as u64));
    Response::text(200, format!("slept {milliseconds} ms\n"))
}

/// Computing, for `?rounds=` rounds of a few instructions each (1,000,000 if not given).
fn compute(request: &Request) -> Response {
    let rounds = number(request, "rounds").unwrap_or(1_000_000);
    let mut bits = 1_u64;
    for _ in 0..rounds {
        bits = black_box(bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (bits >> 29));
    }
    Response::text(200, format!("computed {rounds} rounds\n"))
}

/// Calling without end.
fn stack(_: &Request) -> Response {
    /// Adds after the call, so that the call is not the last thing it does: else the compiler could
    /// make a loop of it.
    fn descend(depth: usize) -> usize {
        if black_box(depth) == usize::MAX {
            return 0;
        }
        descend(depth + 1) + black_box(1)
    }
    Response::text(200, format!("came back from {} calls\n", descend(0)))
}

/// Taking memory until there is none.
fn oom(_: &Request) -> Response {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(touched(MIB)));
    }
}

/// Taking `?mib=` MiB (16 if not given) and never giving them back.
fn grow(request: &Request) -> Response {
    let mib = number(request, "mib").unwrap_or(16);
    for _ in 0..mib {
        std::mem::forget(black_box(touched(MIB)));
    }
    Response::text(200, format!("kept {mib} MiB\n"))
}

/// Opening `?path=` (`index.html` if not given) until the host refuses, and keeping every handle.
fn leak_files(request: &Request) -> Response {
    let path = request.parameter("path").unwrap_or("index.html");
    let mut opened = 0;
    let error = loop {
        match files::open(path) {
            Ok(opened) => std::mem::forget(opened.file),
            Err(error) => break error,
        }
        opened += 1;
    };
    Response::text(200, format!("opened {opened}, then {}\n", error.name()))
}

/// Opening a path of `?mib=` MiB (1 if not given), again and again, `?times=` times (1000 if not
/// given).
fn long_path(request: &Request) -> Response {
    let path = "a/".repeat(number(request, "mib").unwrap_or(1) * MIB / 2);
    let times = number(request, "times").unwrap_or(1000);
    let opened = (0..times).filter(|_| files::open(&path).is_ok()).count();
    Response::text(200, format!("asked {times} times, opened {opened}\n"))
}

/// Answering `?bytes=` bytes (16 MiB if not given): the sixteen hexadecimal digits, over and over.
fn big(request: &Request) -> Response {
    let bytes = number(request, "bytes").unwrap_or(16 * MIB);
    let digits = b"0123456789abcdef".repeat(bytes.div_ceil(16));
    Response::new(200)
        .with_header("content-type", "text/plain; charset=utf-8")
        .with_body(&digits[..bytes])
}

/// Answering what is not HTTP, in the way that `?kind=` names.
fn bad_response(request: &Request) -> Response {
    let ok = Response::text(200, "this is not HTTP\n");
    match request.parameter("kind").unwrap_or("status") {
        "status" => Response::text(999, "this is not HTTP\n"),
        "name" => ok.with_header("no name", "x"),
        "value" => ok.with_header("x-value", "two\r\nlines: 2"),
        "length" => ok.with_header("content-length", "1"),
        "head" => ok.with_header("x-head", "x".repeat(MIB)),
        "hop" => ok.with_header("transfer-encoding", "chunked"),
        "body-204" => Response::text(204, "this is not HTTP\n"),
        _ => Response::text(404, "There is no such way to answer.\n"),
    }
}

/// Memory that the host has really handed out: every byte has been written.
fn touched(bytes: usize) -> Vec<u8> {
    vec![1; bytes]
}

fn number(request: &Request, name: &str) -> Option<usize> {
    request.parameter(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use wasm_pool_guest::{Header, Scheme};

    use super::*;

    fn get(path: &str, query: Option<&str>) -> (u16, String) {
        let response = misbehave(Request {
            id: 1,
            method: "PUT".into(),
            path: path.into(),
            query: query.map(Into::into),
            headers: vec![Header {
                name: "host".into(),
                value: b"localhost".into(),
            }],
            body: b"a body".into(),
            client: "127.0.0.1:1".into(),
            scheme: Scheme::Http,
        });
        let bytes = match response.body {
            Body::Bytes(bytes) => bytes,
            Body::File(_) => unreachable!("no route answers with a file"),
        };
        (response.status, String::from_utf8_lossy(&bytes).into())
    }

    #[test]
    fn what_comes_back_comes_back() {
        let is = |status, text: &str| (status, text.to_owned());
        let echo = "PUT /echo?a=%20\nhost: localhost\n\na body";
        assert_eq!(get("/ok", None), is(200, "ok\n"));
        assert_eq!(get("/echo", Some("a=%20")), is(200, echo));
        assert_eq!(get("/big", Some("bytes=0")), is(200, ""));
        assert_eq!(get("/big", Some("bytes=18")), is(200, "0123456789abcdef01"));
        assert_eq!(get("/grow", Some("mib=1")), is(200, "kept 1 MiB\n"));
        assert_eq!(get("/slow", Some("ms=1")), is(200, "slept 1 ms\n"));
        assert_eq!(
            get("/compute", Some("rounds=2")),
            is(200, "computed 2 rounds\n")
        );
        assert_eq!(get("/bad-response", None).0, 999);
        assert_eq!(get("/bad-response", Some("kind=body-204")).0, 204);
        assert_eq!(get("/", None).0, 404);
    }
}
