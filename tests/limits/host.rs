//! The costs that a guest can cause for the host: memory, and time of a core.

use std::time::{Duration, Instant};

use super::failed;
use crate::support::server::{component, guest};
use crate::support::wat::{LISTER, OPENER, worker};
use crate::support::{Folder, eventually};

#[test]
fn host_memory_that_one_answer_takes() {
    // A list of 60,000 header values, each of which is the same 1 MiB. A host that copied the list
    // would need 60 GB.
    let values = "
        (drop (memory.grow (i32.const 32)))
        (local.set $at (i32.const 131072))
        (loop $next
          (i32.store (local.get $at) (i32.const 2048))
          (i32.store offset=4 (local.get $at) (i32.const 1))
          (i32.store offset=8 (local.get $at) (i32.const 65536))
          (i32.store offset=12 (local.get $at) (i32.const 1048576))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $next (i32.lt_u (local.get $at) (i32.const 1091072))))
        (i32.store8 (i32.const 2048) (i32.const 120))
        (i32.store (i32.const 1028) (i32.const 131072))
        (i32.store (i32.const 1032) (i32.const 60000))";
    let names = values
        .replace("(i32.const 2048))\n", "(i32.const 65536))\n")
        .replace(
            "offset=4 (local.get $at) (i32.const 1))",
            "offset=4 (local.get $at) (i32.const 1048576))",
        );
    let empty = values.replace("(i32.const 1048576))\n", "(i32.const 0))\n");
    for (what, handle) in [("values", values), ("names", &names), ("fields", &empty)] {
        let server = component(
            &worker(handle),
            Folder::new(),
            "--workers 1 --max-response 16MiB",
        );
        let before = server.memory("VmHWM");
        failed(&server, &server.get("/"), 502, "response");
        let grown = server.grown(before);
        // Twice the body's limit, for the body and its copy, and room for one process and its
        // backtrace.
        assert!(grown < 64 << 20, "{what}: the host took {grown} B");
    }
}

#[test]
fn host_memory_that_a_call_takes() {
    // Two processes open a path of 60 MB again and again, while other requests are served. The host
    // doesn't copy the path.
    let text = worker(
        "
        (if (local.get $body-length) (then
          (drop (memory.grow (i32.const 950)))
          (loop $again
            (call $open (i32.const 131072) (i32.const 60000000) (i32.const 2048))
            (br $again))))",
    );
    let server = component(&text, Folder::new(), "--workers 4 --request-timeout 5s");
    assert_eq!(server.get("/").status, 200);
    let before = server.memory("VmHWM");
    let mut bad: Vec<_> = (0..2).map(|_| server.client()).collect();
    for client in &mut bad {
        client.ask("POST", "/", b"x");
    }
    let mut good = server.client();
    for _ in 0..100 {
        assert_eq!(good.get("/").status, 200);
    }
    for client in &mut bad {
        assert_eq!(client.reply("POST").expect("a reply").status, 504);
    }
    let grown = server.grown(before);
    assert!(grown < 32 << 20, "the host took {grown} B");
}

#[test]
fn memory_of_large_answers_is_given_back() {
    let server = guest("misbehave", "--mode per-request --log-level error");
    assert_eq!(server.get("/big?bytes=1000").status, 200);
    let before = server.memory("VmRSS");
    for _ in 0..3 {
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| assert_eq!(server.get("/big?bytes=20000000").status, 200));
            }
        });
    }
    let kept = || server.memory("VmRSS").saturating_sub(before);
    eventually("the memory of 8 answers of 20 MB is given back", || {
        (kept() < 20 << 20).then_some(())
    });
}

#[test]
fn paths_that_are_too_long_to_be_copied() {
    for handle in [OPENER, LISTER] {
        let server = component(&worker(handle), Folder::new(), "--workers 1");
        for length in [4096, 500_000] {
            let reply = server.request("POST", "/", &[], &vec![b'x'; length]);
            // The seventh error code: `name-too-long`.
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (404, "g"),
                "{length}"
            );
        }
    }
}

#[test]
fn time_that_no_tick_interrupts() {
    // A process fills its memory ten times before it comes to a tick, while other requests are
    // served.
    let fill = "(memory.fill (i32.const 131072) (i32.const 1) (i32.const 60000000))".repeat(10);
    let text = worker(&format!(
        "
        (if (local.get $body-length) (then
          (drop (memory.grow (i32.const 950)))
          (loop $again {fill} (br $again))))"
    ));
    let server = component(&text, Folder::new(), "--workers 2 --request-timeout 4s");
    let mut good = server.client();
    // The part of a core that the host uses, in percent, while it serves good requests.
    let mut share = |seconds| {
        let (start, ticks) = (Instant::now(), server.processor_ticks());
        while start.elapsed().as_secs() < seconds {
            assert_eq!(good.get("/").status, 200);
            std::thread::sleep(Duration::from_millis(2)); // leaves most of the time to the bad request
        }
        let took = (server.processor_ticks() - ticks) * 10;
        took * 100 / start.elapsed().as_millis() as u64
    };
    let usual = share(1);
    let mut bad = server.client();
    bad.ask("POST", "/", b"x");
    let beside = share(3);
    println!("{beside} % of a core, {usual} % without the bad request");
    // The bad request may use half of a core, and noise a tenth.
    assert!(beside < usual + 60, "{beside} %, {usual} % without it");
    assert_eq!(bad.reply("POST").expect("a reply").status, 504);
}
