//! Actions of a process that must not affect other processes, or that harm only itself.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use wasm_pool_guest::mailbox::{self, Data, Incoming, Outgoing, Pid};
use wasm_pool_guest::{process, talk};

const MIB: usize = 1 << 20;

pub(crate) fn commit(misdeed: &str) -> String {
    match misdeed {
        "trap" => trap(),
        "panic" => panic!("this process was asked to panic"),
        "abort" => std::process::abort(),
        "stack" => format!("came back from {} calls", descend(0)),
        "oom" => hoard(),
        "spin" => loop {
            black_box(());
        },
        _ => panic!("no such statement: {misdeed}"),
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

/// Adds after the call, so that the compiler can't turn the recursion into a loop.
fn descend(depth: usize) -> usize {
    if black_box(depth) == usize::MAX {
        return 0;
    }
    descend(depth + 1) + black_box(1)
}

fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; MIB]));
    }
}

/// Tries to kill another process's descendant, again and again. Returns the microseconds that this
/// took.
pub(crate) fn kills(pid: Pid, times: u32) -> String {
    let start = Instant::now();
    for _ in 0..times {
        assert_eq!(process::kill(pid), Err(process::ErrorCode::NotYours));
    }
    start.elapsed().as_micros().to_string()
}

/// Sends each message back, and then overwrites its own copy.
pub(crate) fn echo() {
    let message = mailbox::receive();
    let Incoming::Data(mut data) = message.content else {
        panic!("not data: {message:?}");
    };
    let sent = talk::send(message.sender, data.tag, &data.bytes);
    data.bytes.fill(b'e');
    black_box(data);
    sent.expect("who asks is there");
}

/// Sends a message to an echo. Then overwrites first the memory that it was sent from, and later
/// the echo's answer.
pub(crate) fn by_value(echo: Pid) -> String {
    const SIZE: usize = 4096;
    let bytes = vec![b'm'; SIZE];
    let place = bytes.as_ptr();
    let sent = mailbox::send(echo, Outgoing::Data(Data { tag: 1, bytes }));
    let mut overwritten = vec![b'o'; SIZE]; // reuses the memory that was just freed
    let same_place = std::ptr::eq(place, overwritten.as_ptr());
    black_box(&mut overwritten);
    let once = receive(echo);
    let first = once.clone();
    black_box(once).fill(b'r');
    let again = talk::send(echo, 1, &first).map(|()| receive(echo));
    let all = |bytes: &[u8], letter| bytes.len() == SIZE && bytes.iter().all(|it| *it == letter);
    format!(
        "sent: {}, overwritten: {same_place}, came back: {}, and again: {}, the other is as it was: {}",
        sent.is_ok(),
        all(&first, b'm'),
        again.is_ok_and(|again| all(&again, b'm')),
        all(&overwritten, b'o'),
    )
}

fn receive(from: Pid) -> Vec<u8> {
    match mailbox::receive_from(from).map(|message| message.content) {
        Ok(Incoming::Data(data)) => data.bytes,
        other => panic!("not data: {other:?}"),
    }
}

/// Counts as far as possible in this time. All processes share the clock.
pub(crate) fn work(time: Duration) -> String {
    let start = SystemTime::now();
    let mut count: u64 = 0;
    while start.elapsed().is_ok_and(|elapsed| elapsed < time) {
        for step in 0..1000 {
            black_box(step);
        }
        count += 1;
    }
    count.to_string()
}
