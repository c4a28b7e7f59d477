//! Measures messages between processes of two hosts, from inside. Both hosts run this program. The
//! root process of one host is asked over HTTP, and starts *pingers*. The root process of the other
//! host starts an *echo* for each pinger.
//!
//! `peers/nodes.erl` does the same with two nodes of BEAM. A request is
//! `GET /BYTES/PAIRS/WARM_UP_MS/MEASURED_MS`. If anything goes wrong, the root process panics.

use std::thread::sleep;
use std::time::{Duration, Instant};

use wasm_pool_guest::mailbox::{self, Data, Incoming, Message, Outgoing, Pid};
use wasm_pool_guest::talk::{self, Answer};
use wasm_pool_guest::{Response, cluster, process, program};

/// More than the other host needs to be seen and to start a process.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause before the next look at the list of hosts.
const PAUSE: Duration = Duration::from_millis(10);

program!(run);

fn run() {
    match (process::parent(), &process::args()[..]) {
        (None, _) => serve(),
        (Some(_), []) => echo(),
        (Some(root), [echo, words @ ..]) => {
            let echo = echo.parse().expect("a pid");
            let [bytes, _, warm_up, measured] = numbers(words.iter().map(String::as_str));
            ping(root, echo, bytes, [warm_up, measured].map(milliseconds));
        }
    }
}

/// The root process, on both hosts.
fn serve() {
    talk::serve(|message| match &message.content {
        Incoming::Request(asked) => {
            let figures = measure(&asked.request.path);
            Some(Answer::response(asked.client, Response::json(200, figures)))
        }
        Incoming::Call(_) => {
            let echo = process::spawn(&[]).expect("an echo");
            Answer::reply(&message, echo.to_le_bytes())
        }
        Incoming::Data(_) | Incoming::Down(_) => None,
    })
}

fn echo() {
    talk::serve(|mut message| match &mut message.content {
        Incoming::Data(data) => {
            let bytes = std::mem::take(&mut data.bytes);
            Answer::reply(&message, bytes)
        }
        Incoming::Call(_) | Incoming::Request(_) | Incoming::Down(_) => None,
    })
}

/// Starts all pairs, waits for the reports of the pingers, and sums them up in JSON. Each pair has
/// as many round trips in a second as its times say. The total includes the warm-up.
fn measure(path: &str) -> String {
    let words = || path.split('/').skip(1);
    let [_, pairs, _, _] = numbers(words());
    let other = other_root();
    let pingers: Vec<Pid> = (0..pairs).map(|_| start_pinger(other, words())).collect();
    let (mut all, mut per_second, mut total) = (Vec::new(), 0, 0);
    for pinger in pingers {
        let report = data(mailbox::receive_from(pinger).expect("a report"));
        let times = report.bytes.chunks_exact(size_of::<u64>());
        let times = times.map(|time| u64::from_le_bytes(time.try_into().expect("eight bytes")));
        let times: Vec<u64> = times.collect();
        per_second += times.len() as u64 * 1_000_000_000 / times.iter().sum::<u64>();
        total += report.tag;
        all.extend(times);
    }
    all.sort_unstable();
    let [p50, p99] = [50, 99].map(|percent| all[(all.len() * percent).div_ceil(100) - 1]);
    format!(r#"{{"p50_ns":{p50},"p99_ns":{p99},"per_second":{per_second},"round_trips":{total}}}"#)
}

/// The root process of the other host. Waits until this host has heard of it.
fn other_root() -> Pid {
    let begin = Instant::now();
    loop {
        let others = cluster::hosts().into_iter().skip(1);
        if let Some(root) = others.filter_map(|host| host.root).next() {
            return root;
        }
        assert!(begin.elapsed() < PATIENCE, "no other host runs this");
        sleep(PAUSE);
    }
}

fn start_pinger<'a>(other: Pid, words: impl Iterator<Item = &'a str>) -> Pid {
    let echo = talk::call(other, b"", PATIENCE).expect("an echo");
    let echo = Pid::from_le_bytes(echo.try_into().expect("a pid"));
    let words = words.map(str::to_owned);
    let args: Vec<String> = [echo.to_string()].into_iter().chain(words).collect();
    process::spawn_monitor(&args).expect("a pinger")
}

/// A pinger. Reports the nanoseconds of each measured round trip, and the number of all round trips
/// as the tag.
fn ping(root: Pid, echo: Pid, bytes: usize, [warm_up, measured]: [Duration; 2]) {
    // If the echo or its host is lost, this brings a message that is no data.
    process::monitor(echo).expect("the echo is there");
    let mut ball = vec![0; bytes];
    let warmed_up = bounce(echo, &mut ball, warm_up).len();
    let times = bounce(echo, &mut ball, measured);
    let total = (warmed_up + times.len()) as u64;
    let times: Vec<u8> = times.into_iter().flat_map(u64::to_le_bytes).collect();
    talk::send(root, total, &times).expect("the root takes the report");
}

/// Does round trips until the time is over, but at least one. Returns the nanoseconds of each.
fn bounce(echo: Pid, ball: &mut Vec<u8>, time: Duration) -> Vec<u64> {
    let begin = Instant::now();
    let (mut start, mut times) = (begin, Vec::new());
    loop {
        let bytes = std::mem::take(ball);
        let sent = Outgoing::Data(Data { tag: 0, bytes });
        let back = mailbox::send_and_receive(echo, sent);
        *ball = data(back.expect("the echo is there")).bytes;
        let now = Instant::now();
        times.push((now - start).as_nanos() as u64);
        start = now;
        if now - begin >= time {
            return times;
        }
    }
}

fn data(message: Message) -> Data {
    let Incoming::Data(data) = message.content else {
        panic!("{} sends no data", message.sender);
    };
    data
}

/// Bytes, pairs, and the milliseconds of warm-up and of measurement.
fn numbers<'a>(words: impl Iterator<Item = &'a str>) -> [usize; 4] {
    let numbers: Vec<usize> = words.map(|word| word.parse().expect("a number")).collect();
    numbers.try_into().expect("four numbers")
}

fn milliseconds(number: usize) -> Duration {
    Duration::from_millis(number as u64)
}
