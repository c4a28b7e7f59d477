//! The same tests through every *door*: the table of requests, hostile clients, those that leave
//! and those that take their time, over TLS, HTTP/2 and a Unix socket. A process has one door, so
//! this binary runs itself again for each.

use crate::support::again;
use crate::support::door::Door;

/// The tests that run again.
const MODULES: [&str; 4] = [
    "requests::",
    "hostile::",
    "crashes::leaving::",
    "limits::times::",
];

/// How many they are at least. With fewer, the tests' names are not those that were meant.
const ALL: usize = 33;

/// Tests and modules without a meaning over HTTP/2, and the reason.
#[rustfmt::skip] // one line per case
const NOT_OVER_HTTP2: &[(&str, &str)] = &[
    ("hostile::malformed::", "sends bytes that are no HTTP/1; `http2::hostile` sends frames"),
    ("hostile::unusual::clients_who_say_that_they_have_said_all", "every request says so itself"),
    ("hostile::unusual::a_request_in_single_bytes", "sends the bytes of a head"),
    ("hostile::unusual::old_clients_and_those_that_close", "is about HTTP/1.0 and `Connection`"),
    ("hostile::unusual::a_client_that_expects_to_be_asked", "hyper sends no 100 over HTTP/2"),
    ("crashes::leaving::a_client_that_leaves_while", "closes a side; `http2::streams` resets streams"),
    ("limits::times::time_to_send_a_head", "sends some bytes of a head; `http2::streams` sends frames"),
    ("limits::times::time_to_send_a_body", "sends some bytes of a body; `http2::streams` sends frames"),
    ("limits::times::time_to_do_nothing", "its end has bytes; `http2::streams` waits for GOAWAY"),
];

/// How many tests these are.
const LEFT_OUT: usize = 15;

#[test]
fn over_tls() {
    through(Door::Tls, &[], ALL);
}

#[test]
fn over_http2() {
    through(Door::Http2, NOT_OVER_HTTP2, ALL - LEFT_OUT);
}

#[test]
fn over_a_unix_socket() {
    through(Door::Unix, &[], ALL);
}

/// Runs the tests again, except those that are left out. They must be at least this many.
fn through(door: Door, left_out: &[(&str, &str)], least: usize) {
    let begins = |test: &str, names: &[&str]| names.iter().any(|name| test.starts_with(name));
    let mut tests = again::tests();
    tests.retain(|test| begins(test, &MODULES));
    for (name, why) in left_out {
        let before = tests.len();
        tests.retain(|test| !begins(test, &[name]));
        assert!(
            tests.len() < before,
            "no test has this name: {name} ({why})"
        );
    }
    assert!(tests.len() >= least, "{} tests: {tests:?}", tests.len());
    again::run(door, &tests, &[]);
}
