//! The classic exercise for message passing: processes in a ring, each of which knows its successor
//! only, and a token that goes from one to the next.

use std::time::{Duration, Instant};

use wasm_pool_guest::mailbox::{self, Incoming, Message, Pid};
use wasm_pool_guest::{process, program, talk};

const USAGE: &str =
    "two numbers are needed: processes in the ring, at least 1, and passes, or 0 to wait";

program!(ring);

fn ring() {
    match process::parent() {
        None => root(),
        Some(root) => member(root),
    }
}

/// Builds the ring, and stands outside of it with a clock.
fn root() {
    let Some((members, passes)) = arguments(&process::args()) else {
        give_up(2, USAGE);
    };
    let done = match passes {
        0 => wait(members),
        _ => measure(members, passes).map(|time| println!("{}", report(members, passes, time))),
    };
    if let Err(reason) = done {
        give_up(1, &reason);
    }
    // All members end now: they are this process's children.
}

/// One process of the ring. It ends when its successor does. So a break anywhere goes round the
/// ring, from each to the one before it, until the root hears of it: nobody waits for a token that
/// is lost.
fn member(root: Pid) {
    let order = mailbox::receive_from(root).ok();
    let Some(successor) = order.as_ref().and_then(number) else {
        return;
    };
    if process::monitor(successor).is_err() {
        return;
    }
    while let Some(left) = number(&mailbox::receive()) {
        let sent = match left {
            0 => send(root, 0),
            _ => send(successor, left - 1),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// How long the passes take, in a ring whose members have all begun to run.
fn measure(members: usize, passes: u64) -> Result<Duration, String> {
    let first = build(members)?;
    send_round(first, members as u64)?; // each takes its first breath here, off the clock
    let start = Instant::now();
    send_round(first, passes)?;
    Ok(start.elapsed())
}

/// Builds a ring that is never given the token again: what processes hold while nothing happens can
/// only be seen from outside.
fn wait(members: usize) -> Result<(), String> {
    let first = build(members)?;
    send_round(first, members as u64)?;
    println!("{members} processes wait");
    let _broken = mailbox::receive();
    Err(BROKEN.into())
}

/// Starts the members and tells each its successor. That needs messages: when a process is started,
/// the one after it has no pid yet.
fn build(members: usize) -> Result<Pid, String> {
    let pids: Vec<Pid> = (1..=members).map(spawn).collect::<Result<_, _>>()?;
    let successors = pids.iter().cycle().skip(1);
    for (&pid, &successor) in pids.iter().zip(successors) {
        send(pid, successor)?;
    }
    let first = pids[0];
    process::monitor(first).map_err(|_| BROKEN)?;
    Ok(first)
}

fn spawn(nth: usize) -> Result<Pid, String> {
    process::spawn(&[]).map_err(|error| format!("process {nth} can't be started: {}", error.name()))
}

/// Gives the token to the first member, and waits until it has been passed so many times.
fn send_round(first: Pid, passes: u64) -> Result<(), String> {
    send(first, passes)?;
    match number(&mailbox::receive()) {
        Some(_) => Ok(()),
        None => Err(BROKEN.into()),
    }
}

const BROKEN: &str = "a process of the ring has ended";

/// Sends a number: a pid, or the token with the passes that are left.
fn send(to: Pid, number: u64) -> Result<(), String> {
    const TAG: u64 = 0; // there is one kind of message
    talk::send(to, TAG, &number.to_le_bytes())
        .map_err(|error| format!("process {to} can't be sent to: {}", error.name()))
}

/// The number in a message; none in one that says that a process has ended.
fn number(message: &Message) -> Option<u64> {
    match &message.content {
        Incoming::Data(data) => Some(u64::from_le_bytes(data.bytes.as_slice().try_into().ok()?)),
        Incoming::Call(_) | Incoming::Request(_) | Incoming::Down(_) => None,
    }
}

fn arguments(args: &[String]) -> Option<(usize, u64)> {
    let [members, passes] = args else { return None };
    let (members, passes) = (members.parse().ok()?, passes.parse().ok()?);
    (members > 0).then_some((members, passes))
}

/// Without floating point, whose formatting would be half of this module.
fn report(members: usize, passes: u64, time: Duration) -> String {
    let tenths = time.as_micros() / 100;
    let hundredths = time.as_nanos() / 10 / u128::from(passes);
    let (ms, us) = (tenths / 10, hundredths / 100);
    let (tenths, hundredths) = (tenths % 10, hundredths % 100);
    format!(
        "{members} processes passed the token {passes} times in {ms}.{tenths} ms, {us}.{hundredths:02} µs each"
    )
}

fn give_up(code: u32, reason: &str) -> ! {
    eprintln!("ring: {reason}");
    talk::exit(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_are_needed() {
        let arguments = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(|&arg| arg.into()).collect();
            arguments(&args)
        };
        assert_eq!(arguments(&["3", "9000000000"]), Some((3, 9_000_000_000)));
        assert_eq!(arguments(&[]), None);
        assert_eq!(arguments(&["3"]), None);
        assert_eq!(arguments(&["3", "4", "5"]), None);
        assert_eq!(arguments(&["3", "-4"]), None);
        assert_eq!(arguments(&["three", "4"]), None);
        assert_eq!(arguments(&["0", "4"]), None);
        assert_eq!(arguments(&["3", "0"]), Some((3, 0)));
    }

    #[test]
    fn the_report_is_one_line() {
        assert_eq!(
            report(100, 4000, Duration::from_millis(10)),
            "100 processes passed the token 4000 times in 10.0 ms, 2.50 µs each"
        );
    }
}
