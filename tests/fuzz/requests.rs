//! Any bytes as a request: the host answers in HTTP or closes the connection. Requests that reach a
//! guest keep the contract.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::{Outcome, changed, corpus, fuzz};
use crate::support::server::guest;

/// The statuses that the host or the mirror may answer.
const STATUSES: [u16; 9] = [200, 400, 405, 408, 413, 414, 431, 501, 505];

const WORDS: &[&str] = &[
    "\\r\\n",
    "\\r",
    "\\n",
    "\\r\\n\\r\\n",
    " ",
    "\\t",
    "\\x00",
    "\\x7f",
    "\\xff",
    ":",
    "/",
    "//",
    "*",
    "#",
    "?",
    "%",
    "%00",
    "@",
    "[",
    "]",
    "[::1]",
    "..",
    ";",
    ",",
    "\"",
    "\\\\",
    "GET ",
    "HEAD ",
    "OPTIONS * ",
    "CONNECT x:80 ",
    "POST ",
    " HTTP/1.1\\r\\n",
    " HTTP/1.0\\r\\n",
    " HTTP/2.0\\r\\n",
    "http://",
    "http://x:80/",
    "https://user@x/",
    "host: x\\r\\n",
    "host: a b\\r\\n",
    "content-length: 1\\r\\n",
    "content-length: 9223372036854775808\\r\\n",
    "content-length: 18446744073709551616\\r\\n",
    "transfer-encoding: chunked\\r\\n",
    "transfer-encoding: gzip\\r\\n",
    "connection: close\\r\\n",
    "connection: keep-alive\\r\\n",
    "expect: 100-continue\\r\\n",
    "1\\r\\na\\r\\n",
    "0\\r\\n\\r\\n",
    "ffffffffffffffff\\r\\n",
];

#[test]
fn any_bytes_are_answered_in_http() {
    let server = guest("mirror", "--workers 2 --log-level info");
    let heads = corpus(include_str!("corpus/requests.txt"));
    let reached = Cell::new(0);
    fuzz(changed(heads, WORDS), |bytes| {
        let mut client = server.client();
        // The host may close before it has read everything.
        let _ = client.send(&bytes);
        let _ = client.finish_sending();
        let answer = client
            .rest()
            .map_err(|error| failed(format!("no end: {error}")))?;
        judge(&answer, &reached)
    });
    assert!(
        reached.get() > 100,
        "requests reach the guest: {}",
        reached.get()
    );
    assert_eq!(server.get("/").status, 200);
}

/// Checks that these bytes are responses, one after the other. Requests that the mirror shows must
/// keep the contract.
fn judge(mut answer: &[u8], reached: &Cell<usize>) -> Outcome {
    while !answer.is_empty() {
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.ok_or_else(|| failed(format!("a head without an end: {}", lossy(answer))))?;
        let head = lossy(&answer[..end]);
        answer = &answer[end + 4..];
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .or(head.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)?.parse().ok());
        let status: u16 = status.ok_or_else(|| failed(format!("not a status line: {head}")))?;
        if status == 100 {
            continue;
        }
        prop_assert!(STATUSES.contains(&status), "{}", head);
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let length = field("content-length").and_then(|length| length.parse().ok());
        let length: usize = length.ok_or_else(|| failed(format!("no length: {head}")))?;
        let closes = field("connection") == Some("close");
        let is_bodiless = field("x-mirror-method") == Some("HEAD") || (closes && answer.is_empty());
        let body = if is_bodiless {
            &[]
        } else {
            answer.get(..length).unwrap_or_default()
        };
        prop_assert!(is_bodiless || body.len() == length, "cut short: {}", head);
        answer = &answer[body.len()..];
        if status == 200 && !is_bodiless {
            shown(&lossy(body))?;
            reached.set(reached.get() + 1);
        }
    }
    Ok(())
}

/// `wit/http.wit`: the path starts with `/`, or is `*` with `OPTIONS`. RFC 9112, section 3.2: one
/// host.
fn shown(mirrored: &str) -> Outcome {
    let lines: Vec<&str> = mirrored.split('\n').collect();
    let [method, path, query, ref hosts @ ..] = lines[..] else {
        return Err(failed(format!("not from the mirror: {mirrored}")));
    };
    let is_path = path.starts_with('/') || (path == "*" && method == "OPTIONS");
    prop_assert!(is_path, "{:?}", mirrored);
    prop_assert!(!path.contains(['#', '?', ' ']), "{:?}", mirrored);
    prop_assert!(!query.contains(['#', ' ']), "{:?}", mirrored);
    prop_assert!(
        hosts.len() == 1 && !hosts[0].contains([' ', '/', '@']),
        "{:?}",
        mirrored
    );
    Ok(())
}

fn failed(why: String) -> TestCaseError {
    TestCaseError::fail(why)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
