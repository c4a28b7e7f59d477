//! The drills through the other doors. They are shorter: what differs is how requests arrive, and
//! not what processes do.

use std::env;
use std::thread;

use super::alone;
use super::everything::DURATION;
use crate::support::again;
use crate::support::door::Door;

/// The duration of an attack, in seconds.
const SECONDS: &str = "2";

/// Three drills at a time, since none of them measures how long anything takes. Most of the time,
/// each waits for a process that spins.
#[test]
fn a_thousand_requests_over_each() {
    let _alone = alone();
    let drill = "crashes::ten_thousand_requests_of_which_two_hundred_fail";
    thread::scope(|scope| {
        for door in [Door::Tls, Door::Http2, Door::Unix] {
            scope.spawn(move || again::run(door, &[drill.to_owned()], &[]));
        }
    });
}

#[test]
fn everything_over_tls() {
    everything_over(Door::Tls);
}

#[test]
fn everything_over_http2() {
    everything_over(Door::Http2);
}

#[test]
fn everything_over_a_unix_socket() {
    everything_over(Door::Unix);
}

fn everything_over(door: Door) {
    let _alone = alone();
    let tests = ["everything::in_a_pool", "everything::in_a_program"].map(str::to_owned);
    let seconds = env::var(DURATION).unwrap_or_else(|_| SECONDS.to_owned());
    again::run(door, &tests, &[(DURATION, &seconds)]);
}
