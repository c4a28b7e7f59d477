//! Every kind of bad client at once, at several paces, beside good clients, in every mode and with
//! a program. Good clients get each byte of every answer, about as soon as without bad clients. The
//! attack leaves nothing behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::alone;
use super::attackers::{Attacker, Misdeed, every};
use crate::support::server::{component, guest_over};
use crate::support::wat::{
    doubling_cpp_name, doubling_rust_name, nested_debug_information, worker_with,
};
use crate::support::{Client, Folder, Server, eventually, pattern};

/// The duration of the attack. The variable replaces it.
const SECONDS: u64 = 30;
pub(crate) const DURATION: &str = "DRILL_SECONDS";

/// A noisy machine delays the good clients at different times. So good clients must be fast enough
/// in at least one of this many attacks.
const ATTACKS: usize = 4;

/// Good clients. Each sends its next request as soon as the last is answered.
const GOOD_CLIENTS: usize = 8;

/// The longest wait of good clients: this multiple of their wait beside harmless clients, plus one
/// time slice of the machine's that has nothing to do with the host. If the machine has other work,
/// it is several time slices.
const SLOWER: u32 = 3;
const NOISE: Duration = Duration::from_millis(20);

/// The tolerated growth of resident memory after a second attack. The allocator's arenas fill
/// differently each time, and each may keep the 16 MiB of a long path. A leak of one stack for each
/// failure would be some hundred MiB.
const TOLERANCE_BYTES: u64 = 64 << 20;

const FILE_BYTES: usize = 50_000;

/// Bad clients of a handler.
const OF_A_HANDLER: &[Attacker] = &[
    every(0, Misdeed::Ask("/trap")),
    every(5, Misdeed::Ask("/panic")),
    every(20, Misdeed::Ask("/abort")),
    every(10, Misdeed::Ask("/exit")),
    every(50, Misdeed::Ask("/stack")),
    every(100, Misdeed::Ask("/oom")),
    every(500, Misdeed::Ask("/spin")),
    every(100, Misdeed::Ask("/flood")),
    every(200, Misdeed::Ask("/long-path?mib=16")),
    every(20, Misdeed::Ask("/bad-response?kind=head")),
    every(20, Misdeed::Ask("/bad-response?kind=value")),
    every(50, Misdeed::Head(100_000)),
    every(50, Misdeed::Target(60_000)),
    every(300, Misdeed::Half),
    every(300, Misdeed::Half),
    every(300, Misdeed::Slow("/big?bytes=8000000")),
    every(10, Misdeed::Leave("/big?bytes=1000000")),
    every(50, Misdeed::Leave("/slow?ms=100")),
    every(300, Misdeed::Hello),
    every(10, Misdeed::Garbage),
];

/// Bad clients of a program. Its children fail.
const OF_A_PROGRAM: &[Attacker] = &[
    every(0, Misdeed::Script("spawn a { receive; trap }; forward a")),
    every(5, Misdeed::Script("spawn a { receive; panic }; forward a")),
    every(20, Misdeed::Script("spawn a { receive; abort }; forward a")),
    every(50, Misdeed::Script("spawn a { receive; stack }; forward a")),
    every(100, Misdeed::Script("spawn a { receive; oom }; forward a")),
    every(500, Misdeed::Script("spawn a { receive; spin }; forward a")),
    every(
        20,
        Misdeed::Script("spawn a { receive; print x*4000; exit 1 }; forward a"),
    ),
    every(
        20,
        Misdeed::Script("spawn a { receive; respond client 999 x }; forward a"),
    ),
    every(50, Misdeed::Head(100_000)),
    every(50, Misdeed::Target(60_000)),
    every(300, Misdeed::Half),
    every(300, Misdeed::Hello),
    every(10, Misdeed::Garbage),
];

#[test]
fn in_a_pool() {
    let serve = |folder, flags: &str| guest_over("misbehave", folder, flags);
    everything(serve, "--workers 2..64", OF_A_HANDLER, ask_a_handler);
}

#[test]
fn in_a_process_per_request() {
    let serve = |folder, flags: &str| guest_over("misbehave", folder, flags);
    everything(serve, "--mode per-request", OF_A_HANDLER, ask_a_handler);
}

/// Leaves out the clients that occupy the only process for as long as they may. With one process,
/// everybody waits for them.
#[test]
fn in_one_process() {
    const OCCUPY: [&str; 4] = ["/spin", "/oom", "/flood", "/long-path?mib=16"];
    let occupies = |attacker: &&Attacker| {
        matches!(attacker.misdeed, Misdeed::Ask(target) if OCCUPY.contains(&target))
            || matches!(attacker.misdeed, Misdeed::Leave("/slow?ms=100"))
    };
    let others = OF_A_HANDLER.iter().filter(|attacker| !occupies(attacker));
    let others: Vec<Attacker> = others.copied().collect();
    let serve = |folder, flags: &str| guest_over("misbehave", folder, flags);
    everything(serve, "--mode single", &others, ask_a_handler);
}

#[test]
fn in_a_program() {
    let serve = |folder, flags: &str| guest_over("actor", folder, flags);
    everything(serve, "", OF_A_PROGRAM, ask_a_program);
}

/// A module whose backtraces are expensive for a host that reads all of their names and debug
/// information.
#[test]
fn with_hostile_names_and_debug_information() {
    let (cpp, rust) = (doubling_cpp_name(30), doubling_rust_name(60));
    let fields = format!(
        "{} (func $\"{cpp}\" unreachable) (func $\"{rust}\" (call $\"{cpp}\") (call $\"{cpp}\"))",
        nested_debug_information(3_000)
    );
    // Only a path of this length traps.
    let is_trap = "(i32.eq (local.get $path-length) (i32.const 5))";
    let text = worker_with(
        &fields,
        &format!("(if {is_trap} (then (call $\"{rust}\")))"),
    );
    let attackers = [0, 5, 20, 50].map(|pause| every(pause, Misdeed::Ask("/trap")));
    let serve = |folder, flags: &str| component(&text, folder, flags);
    everything(serve, "--workers 2..64", &attackers, |client, _, _| {
        let reply = client.get("/ok");
        assert!(reply.status == 200 && reply.body.is_empty(), "{reply:?}");
    });
}

type Ask = fn(&mut Client, usize, &[u8]);

fn everything(
    serve: impl FnOnce(Folder, &str) -> Server,
    flags: &str,
    attackers: &[Attacker],
    ask: Ask,
) {
    let _alone = alone();
    let content = pattern(FILE_BYTES);
    let flags = format!("{flags} --request-timeout 2s --header-timeout 8s --log-level warn");
    let server = serve(Folder::new().file("file", &content), &flags);
    let seconds = std::env::var(DURATION).ok();
    let seconds = seconds.map_or(SECONDS, |text| {
        text.parse().expect("DRILL_SECONDS is a number")
    });
    let attack = Duration::from_secs(seconds);

    // The same clients at the same paces, but all harmless.
    let harmless = |attacker: &Attacker| Attacker {
        misdeed: Misdeed::Nothing,
        ..*attacker
    };
    let harmless: Vec<_> = attackers.iter().map(harmless).collect();
    let mut usual = good_beside(&server, &harmless, attack / 4, ask, &content);
    let descriptors = server.descriptors();
    good_beside(&server, attackers, attack / 4, ask, &content);
    let memory = server.memory("VmRSS");

    for last in 1..=ATTACKS {
        let noise = NOISE * slowdown();
        let beside = good_beside(&server, attackers, attack, ask, &content);
        println!("{flags}: p99 {usual:?}, beside an attack {beside:?}, noise {noise:?}");
        if beside <= SLOWER * usual + noise {
            break;
        }
        assert!(
            last < ATTACKS,
            "good clients waited for {usual:?}, and beside an attack for {beside:?}"
        );
        usual = good_beside(&server, &harmless, attack / 4, ask, &content);
    }
    eventually("no descriptor is left open", || {
        (server.descriptors() <= descriptors).then_some(())
    });
    eventually("memory is given back", || {
        (server.memory("VmRSS") < memory + TOLERANCE_BYTES).then_some(())
    });
    ask(&mut server.client(), 0, &content);
}

/// The duration of a computation, divided by its duration on a machine without other work.
fn slowdown() -> u32 {
    const TRIAL: Duration = Duration::from_millis(500);
    let cpu_time = || {
        let times = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this thread's");
        let nanos = times.split(' ').next().and_then(|nanos| nanos.parse().ok());
        Duration::from_nanos(nanos.expect("the time on a core"))
    };
    let compute = || {
        let (start, before) = (Instant::now(), cpu_time());
        while start.elapsed() < TRIAL {
            std::hint::spin_loop();
        }
        start.elapsed().as_secs_f64() / (cpu_time() - before).as_secs_f64()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slowest = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(compute)).collect();
        let times = threads.into_iter().map(|thread| thread.join());
        times
            .map(|times| times.expect("no panic"))
            .fold(1.0, f64::max)
    });
    slowest.round() as u32
}

/// The longest wait of good clients during an attack by these attackers, except for one wait in a
/// hundred.
fn good_beside(
    server: &Server,
    attackers: &[Attacker],
    time: Duration,
    ask: Ask,
    content: &[u8],
) -> Duration {
    let is_over = AtomicBool::new(false);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for attacker in attackers {
            scope.spawn(|| attacker.attack(server, &is_over));
        }
        let good = || {
            let mut client = server.client();
            let start = Instant::now();
            let mut times = Vec::new();
            while start.elapsed() < time {
                let asked = Instant::now();
                ask(&mut client, times.len(), content);
                times.push(asked.elapsed());
            }
            times
        };
        let good: Vec<_> = (0..GOOD_CLIENTS).map(|_| scope.spawn(good)).collect();
        let times = good.into_iter().map(|client| client.join());
        // The attackers must end even if a good client has failed.
        let times: Vec<_> = times.collect();
        is_over.store(true, Ordering::Relaxed);
        let whole = times
            .into_iter()
            .map(|times| times.expect("every answer is right"));
        whole.flatten().collect()
    });
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// Sends the nth request and checks the answer to the last byte: an echo, a file, or bytes that the
/// process makes.
fn ask_a_handler(client: &mut Client, nth: usize, content: &[u8]) {
    match nth % 3 {
        0 => {
            let body = format!("this is number {nth}\n").repeat(1 + nth % 50);
            let reply = client.request("POST", "/echo", &[], body.as_bytes());
            assert_eq!(reply.status, 200, "{reply:?}");
            assert!(reply.text().ends_with(&format!("\n\n{body}")), "{reply:?}");
        }
        1 => {
            let reply = client.get("/file?path=file");
            assert!(
                reply.status == 200 && reply.body == content,
                "{}",
                reply.status
            );
        }
        _ => {
            let reply = client.get("/big?bytes=4000");
            assert!(
                reply.status == 200 && reply.body == b"0123456789abcdef".repeat(250),
                "{reply:?}"
            );
        }
    }
}

fn ask_a_program(client: &mut Client, nth: usize, content: &[u8]) {
    if nth.is_multiple_of(2) {
        let reply = client.request("POST", "/", &[], b"respond-file client file");
        assert!(
            reply.status == 200 && reply.body == content,
            "{}",
            reply.status
        );
    } else {
        let reply = client.request("POST", "/", &[], b"respond client 200 a-few-bytes");
        assert_eq!((reply.status, reply.text().as_str()), (200, "a-few-bytes"));
    }
}
