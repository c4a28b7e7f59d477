//! Every limit is enforced: what it stops, what the client is told, and that just below it all is
//! well.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::support::http::request_bytes;
use crate::support::server::{component, guest, guest_over, serve, try_component};
use crate::support::wat::{LISTER, OPENER, worker, worker_with};
use crate::support::{Folder, Reply, Server, eventually};

#[test]
fn deadline_of_code_that_computes() {
    let server = guest("misbehave", "--workers 1 --request-timeout 500ms");
    let start = Instant::now();
    failed(&server, &server.get("/spin"), 504, "deadline");
    assert!(start.elapsed().as_millis() >= 500);
    server.wait_served("/ok");
}

#[test]
fn deadline_of_a_host_call_that_waits() {
    let server = guest("misbehave", "--workers 1 --request-timeout 500ms");
    failed(&server, &server.get("/slow?ms=600000"), 504, "deadline");
    server.wait_served("/slow?ms=1");
}

#[test]
fn memory_of_one_process() {
    let server = guest("misbehave", "--workers 1 --memory 16MiB");
    assert_eq!(server.get("/grow?mib=4").status, 200);
    failed(&server, &server.get("/grow?mib=20"), 502, "memory");
    failed(&server, &server.get("/oom"), 502, "memory");
    let server = guest("misbehave", "--workers 1 --memory 64MiB");
    assert_eq!(server.get("/grow?mib=20").status, 200);
}

#[test]
fn memory_is_summed_over_all_memories() {
    // Each of the two grows by 40 MiB; what doesn't get it traps.
    let grow = "
        (if (i32.eq (memory.grow $shared (i32.const 640)) (i32.const -1)) (then unreachable))
        (if (i32.eq (memory.grow $other (i32.const 640)) (i32.const -1)) (then unreachable))";
    let text = worker_with("(memory $other 1)", grow);
    let server = component(&text, Folder::new(), "--workers 1 --memory 64MiB");
    failed(&server, &server.get("/"), 502, "memory");
    let server = component(&text, Folder::new(), "--workers 1 --memory 128MiB");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn memory_that_a_module_starts_with() {
    let text = worker_with("(memory $other 1600)", ""); // 100 MiB
    match try_component(&text, "--workers 1 --memory 64MiB") {
        Ok(server) => assert_eq!(server.get("/").status, 503),
        Err((status, text)) => assert!(
            status.code() > Some(0) && text.contains("--memory"),
            "{text}"
        ),
    }
    let server = component(&text, Folder::new(), "--workers 1 --memory 128MiB");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn memory_that_is_refused_and_not_missed() {
    let text = worker("(drop (memory.grow (i32.const 60000)))");
    let server = component(&text, Folder::new(), "--workers 1");
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn growth_that_is_refused_does_not_count() {
    // Both ask for 56 MiB, which --memory allows. What has its own maximum, or the pool's, does not
    // get it.
    for (fields, grow) in [
        (
            "(memory $own 1 2)",
            "(drop (memory.grow $own (i32.const 896)))",
        ),
        (
            "(table $own 1 funcref)",
            "(drop (table.grow $own (ref.null func) (i32.const 7000000)))",
        ),
    ] {
        let flags = "--workers 1 --expose-pid";
        let server = component(&worker_with(fields, grow), Folder::new(), flags);
        let mut pids: Vec<_> = (0..3).map(|_| server.get("/").pid()).collect();
        pids.dedup();
        assert_eq!(pids.len(), 1, "{fields}: the process was replaced");
    }
}

#[test]
fn mappings_of_modules_with_many_memories() {
    let usual = std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .is_ok_and(|count| count.trim().parse().is_ok_and(|count: u32| count <= 65_530));
    let memories = "(memory 1) ".repeat(6);
    let text = worker_with(&memories, "");
    let refused = try_component(
        &text,
        "--workers 1..4000 --max-connections 10 --max-open-files 1",
    );
    match refused {
        Ok(_) => assert!(!usual, "the system has no room for so many"),
        Err((status, text)) => assert!(
            status.code() > Some(0) && (!usual || text.contains("vm.max_map_count")),
            "{text}"
        ),
    }
    assert!(try_component(&text, "--workers 1..100").is_ok());
}

#[test]
fn tables_that_grow() {
    // Grows until it is refused, fills what it got, and answers with how often it got 1,000 more
    // elements.
    let fields = "(table $table 1 funcref)";
    let grow = "
        (block $refused (loop $again
          (br_if $refused (i32.eq (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1)))
          (br_if $again (i32.lt_u (table.size $table) (i32.const 100000000)))))
        (table.fill $table (i32.const 0) (ref.null func) (table.size $table))
        (i32.store16 (i32.const 1024) (select (i32.const 200) (i32.const 500)
          (i32.lt_u (table.size $table) (i32.const 10000000))))";
    let server = component(&worker_with(fields, grow), Folder::new(), "--workers 1");
    assert_eq!(
        server.get("/").status,
        200,
        "a table stays below ten million elements"
    );
}

#[test]
fn tables_that_a_module_starts_with() {
    // 800 MB, were they ever written to.
    let fields = "(table $table 100000000 funcref) (func $f) (elem declare func $f)";
    let fill = "(table.fill $table (i32.const 0) (ref.func $f) (table.size $table))";
    match try_component(&worker_with(fields, fill), "--workers 1") {
        Ok(server) => {
            let before = server.memory("VmHWM");
            let status = server.get("/").status;
            let grown = server.grown(before);
            assert!(
                grown < 256 << 20,
                "answered {status}, and took {grown} B of memory"
            );
        }
        Err((status, text)) => assert!(
            status.code() > Some(0) && !text.is_empty(),
            "{status} {text}"
        ),
    }
}

#[test]
fn depth_of_the_stack() {
    let server = guest("misbehave", "--workers 1");
    failed(&server, &server.get("/stack"), 502, "stack");
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn open_files_of_one_process() {
    for limit in [1, 5, 64] {
        let server = guest(
            "misbehave",
            &format!("--workers 1 --max-open-files {limit}"),
        );
        std::fs::write(server.folder.root().join("file"), "x").expect("a file");
        let reply = server.get("/leak-files?path=file");
        assert_eq!(
            reply.text(),
            format!("opened {limit}, then too-many-open\n")
        );
        assert_eq!(
            server.get("/leak-files?path=file").text(),
            "opened 0, then too-many-open\n"
        );
    }
}

#[test]
fn copies_of_open_files_are_memory() {
    let folder = Folder::new().file("small", "x".repeat(64 << 10));
    let flags = "--workers 1 --memory 4MiB --max-open-files 1000";
    let server = guest_over("misbehave", folder, flags);
    let reply = server.get("/leak-files?path=small");
    let text = reply.text();
    let opened = text
        .strip_prefix("opened ")
        .and_then(|text| text.strip_suffix(", then too-many-open\n"));
    let opened: u64 = opened
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{reply:?}"));
    assert!(
        (1..64).contains(&opened),
        "{opened} files of 64 KiB in 4 MiB"
    );
}

#[test]
fn open_files_that_are_given_away_are_not_counted() {
    let folder = Folder::new().file("file", "x".repeat(200_000));
    let server = serve(folder, "--workers 1 --max-open-files 2");
    let mut client = server.client();
    for _ in 0..20 {
        assert_eq!(client.get("/file").body.len(), 200_000);
    }
}

#[test]
fn head_of_a_request() {
    let server = guest("misbehave", "--workers 1");
    let with = |length: usize| {
        let mut client = server.client();
        // The server may close before it has read everything: what counts is what it answers.
        let _ = client.send(&request_bytes(
            "GET",
            "/ok",
            &[("x-long", &"x".repeat(length))],
            b"",
        ));
        client.reply("GET").map(|reply| reply.status)
    };
    assert_eq!(with(1000).expect("a reply"), 200);
    assert_eq!(with(4000).expect("a reply"), 200);
    assert_eq!(with(200_000).expect("a reply"), 431);

    let mut client = server.client();
    let many: Vec<(String, String)> = (0..5000)
        .map(|n| (format!("x-{n}"), "x".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let _ = client.send(&request_bytes("GET", "/ok", &many, b""));
    assert_eq!(client.reply("GET").expect("a reply").status, 431);

    let mut client = server.client();
    let _ =
        client.send(format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(500_000)).as_bytes());
    assert_eq!(client.reply("GET").expect("a reply").status, 414);
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn a_head_is_as_large_as_it_may_be_however_it_comes() {
    const LIMIT: usize = 64 * 1024;
    let server = guest("misbehave", "--workers 1");
    let padded = |start: &str, end: &str, length: usize| {
        let padding = length - start.len() - end.len();
        [start, &"x".repeat(padding), end].concat()
    };
    let fields = |length| padded("GET /ok HTTP/1.1\r\nhost: x\r\nx: ", "\r\n\r\n", length);
    let line = |length| {
        let head = padded("GET /ok?", " HTTP/1.1\r\n", length + 2);
        head + "host: x\r\n\r\n"
    };
    for (head, status) in [
        (fields(LIMIT), 200),
        (fields(LIMIT + 1), 431),
        (fields(100_000), 431),
        (line(LIMIT - 13), 200),
        (line(LIMIT), 431),
        (line(LIMIT + 1), 414),
        (line(100_000), 414),
    ] {
        for piece in [head.len(), 10_000, 999] {
            let mut client = server.client();
            for bytes in head.as_bytes().chunks(piece) {
                // The server may close before it has read everything.
                let _ = client.send(bytes);
            }
            let reply = client.reply("GET").expect("a reply");
            let length = head.len();
            assert_eq!(
                reply.status, status,
                "{length} in pieces of {piece}: {reply:?}"
            );
        }
    }
}

#[test]
fn body_of_a_request() {
    let server = guest("misbehave", "--workers 1 --max-body 64KiB");
    let exact = vec![b'x'; 64 * 1024];
    let reply = server.request("POST", "/echo", &[], &exact);
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with(&exact));

    let reply = server.request("POST", "/echo", &[], &vec![b'x'; 64 * 1024 + 1]);
    assert_eq!(reply.status, 413);
    assert!(reply.text().contains("request "), "{reply:?}");
    // Refused by its length alone, before any of it was sent.
    let reply = server.request("POST", "/echo", &[("content-length", "99999999999")], b"");
    assert_eq!(reply.status, 413);
}

#[test]
fn body_of_a_request_in_chunks() {
    let server = guest("misbehave", "--workers 1 --max-body 64KiB");
    let chunked = |chunks: usize| {
        let mut client = server.client();
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(chunks);
        let head = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        // The server may close before it has read everything.
        let _ = client.send(format!("{head}{chunk}0\r\n\r\n").as_bytes());
        client.reply("POST").expect("a reply")
    };
    let reply = chunked(64);
    assert_eq!(reply.status, 200);
    assert!(reply.body.ends_with(&vec![b'x'; 64 * 1024]));
    assert_eq!(chunked(65).status, 413);
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn body_of_a_response() {
    let server = guest("misbehave", "--workers 1 --max-response 1MiB");
    assert_eq!(server.get("/big?bytes=1048576").body.len(), 1 << 20);
    failed(&server, &server.get("/big?bytes=1048577"), 502, "response");
    failed(&server, &server.get("/big?bytes=20000000"), 502, "response");
    assert_eq!(server.get("/ok").status, 200);
}

#[test]
fn head_of_a_response() {
    // So many fields, whose values are all the same 16 KiB.
    let fields = |count: u32| {
        let text = "
        (drop (memory.grow (i32.const 32)))
        (memory.fill (i32.const 196608) (i32.const 120) (i32.const 16384))
        (local.set $at (i32.const 131072))
        (local.set $end (i32.add (local.get $at) (i32.mul (i32.const 16) (i32.const COUNT))))
        (i32.store8 (i32.const 2048) (i32.const 120))
        (loop $next
          (i32.store (local.get $at) (i32.const 2048))
          (i32.store offset=4 (local.get $at) (i32.const 1))
          (i32.store offset=8 (local.get $at) (i32.const 196608))
          (i32.store offset=12 (local.get $at) (i32.const 16384))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
        (i32.store (i32.const 1028) (i32.const 131072))
        (i32.store (i32.const 1032) (i32.const COUNT))";
        worker(&text.replace("COUNT", &count.to_string()))
    };
    let server = component(&fields(15), Folder::new(), "--workers 1");
    assert_eq!(server.get("/").status, 200);
    for count in [16, 256] {
        let server = component(&fields(count), Folder::new(), "--workers 1");
        failed(&server, &server.get("/"), 502, "response");
        assert!(
            server.log_text().contains("its head has more than"),
            "{count}"
        );
    }
}

#[test]
fn connections() {
    let flags = "--workers 1 --max-connections 3 --header-timeout 100s";
    let server = guest("misbehave", flags);
    let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/ok").status, 200);
    }
    let mut late = server.client();
    let reply = late.get("/ok");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.field("retry-after").is_some(), "{reply:?}");
    assert!(
        reply.text().ends_with(" once\n"),
        "the text is whole: {reply:?}"
    );
    assert_eq!(late.rest().expect("an end"), b"", "and is all that comes");
    for client in &mut clients {
        assert_eq!(
            client.get("/ok").status,
            200,
            "those who were there before notice nothing"
        );
    }
    drop(clients.pop());
    server.wait_served("/ok");
}

#[test]
fn time_to_send_a_head() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    let mut slow = server.client();
    slow.send(b"GET /ok HT").expect("some of the head");
    let rest = slow.rest().expect("the connection is closed");
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "{:?}",
        String::from_utf8_lossy(&rest)
    );
    server.wait_served("/ok");
}

#[test]
fn time_to_send_a_body() {
    let server = guest(
        "misbehave",
        "--workers 1 --header-timeout 1s --request-timeout 2s",
    );
    let mut slow = server.client();
    slow.send(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        .expect("some of it");
    let reply = slow.reply("POST").expect("an answer");
    assert_eq!(reply.status, 408, "{reply:?}");
    server.wait_served("/ok"); // no process waits for a body
}

#[test]
fn time_to_do_nothing() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    let mut silent = server.client();
    assert_eq!(silent.rest().expect("an end"), b"", "after nothing at all");
    // A client whose machine is busy may come too late even with its first request.
    let after = |sent: &[u8]| {
        eventually("a client comes in time", || {
            let mut client = server.client();
            client.send(sent).ok()?;
            let reply = client.reply("GET").ok()?;
            assert_eq!(reply.status, 200);
            Some(client.rest().expect("an end"))
        })
    };
    let request = request_bytes("GET", "/ok", &[], b"");
    assert_eq!(after(&request), b"", "after a request");
    let rest = after(&[&request, &b"GET /ok HT"[..]].concat());
    assert!(
        rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"),
        "after half a request"
    );
}

#[test]
fn time_to_take_an_answer() {
    let folder = Folder::new();
    File::create(folder.root().join("big"))
        .and_then(|file| file.set_len(1 << 30))
        .expect("a sparse file");
    let server = serve(folder, "--workers 1 --header-timeout 1s");
    let mut stuck = server.client();
    stuck
        .send(&request_bytes("GET", "/big", &[], b""))
        .expect("the request is sent");
    assert_eq!(stuck.head().expect("a head").status, 200);
    eventually("nobody waits for it", || {
        (server.open_files("big") == 0).then_some(())
    });
}

#[test]
fn time_that_a_process_takes_is_not_the_clients() {
    let server = guest("misbehave", "--workers 1 --header-timeout 1s");
    eventually("a client comes in time for its second request", || {
        let mut client = server.client();
        let mut ask = |target| client.try_request("GET", target, &[], b"").ok();
        (ask("/slow?ms=2500")?.status == 200 && ask("/ok")?.status == 200).then_some(())
    });
}

#[test]
fn host_memory_that_one_answer_takes() {
    // A list of 60,000 header values, each of which is the same 1 MiB: 60 GB, if the host believed
    // it.
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
        // The body's limit, as much again for a copy, and what one process and its backtrace take.
        assert!(grown < 64 << 20, "{what}: the host took {grown} B");
    }
}

#[test]
fn host_memory_that_a_call_takes() {
    // Two processes open a path of 60 MB again and again, while others are served. None of it is
    // copied.
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
        client
            .send(&request_bytes("POST", "/", &[], b"x"))
            .expect("the request is sent");
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
    // One fills its memory ten times before it comes to a tick, while others are served.
    let fill = "(memory.fill (i32.const 131072) (i32.const 1) (i32.const 60000000))".repeat(10);
    let text = worker(&format!(
        "
        (if (local.get $body-length) (then
          (drop (memory.grow (i32.const 950)))
          (loop $again {fill} (br $again))))"
    ));
    let server = component(&text, Folder::new(), "--workers 2 --request-timeout 4s");
    let mut good = server.client();
    // How much of a core the host takes, in percent, while good requests come.
    let mut share = |seconds| {
        let (start, ticks) = (Instant::now(), server.processor_ticks());
        while start.elapsed().as_secs() < seconds {
            assert_eq!(good.get("/").status, 200);
            std::thread::sleep(Duration::from_millis(2)); // most of the time is the other's, if it takes it
        }
        let took = (server.processor_ticks() - ticks) * 10;
        took * 100 / start.elapsed().as_millis() as u64
    };
    let usual = share(1);
    let mut bad = server.client();
    bad.send(&request_bytes("POST", "/", &[], b"x"))
        .expect("the request is sent");
    let beside = share(3);
    println!("{beside} % of a core, {usual} % without the bad request");
    // The bad request has half of a core, and noise a tenth.
    assert!(beside < usual + 60, "{beside} %, {usual} % without it");
    assert_eq!(bad.reply("POST").expect("a reply").status, 504);
}

/// The client got this status and text, and the log says the same of request and process.
fn failed(server: &Server, reply: &Reply, status: u16, exit: &str) {
    assert_eq!(reply.status, status, "{reply:?}");
    let request = server.wait_request(reply.request_id());
    assert_eq!(request["exit"], exit, "{request}");
    let end = server.wait_end(request["pid"].as_u64().expect("a pid"));
    assert_eq!(end["exit"], exit, "{end}");
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
