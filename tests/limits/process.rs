//! The limits of a process: its memory, its tables and its time.

use std::time::Instant;

use super::failed;
use crate::support::Folder;
use crate::support::server::{component, guest, guest_over, serve, try_component};
use crate::support::wat::{worker, worker_with};

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
    // Both memories grow by 40 MiB. The process traps if a growth is refused.
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
    // Both ask for 56 MiB, which --memory allows. The memory's own maximum refuses its growth. The
    // pool's maximum refuses the table's growth.
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
    // Grows the table until the host refuses, fills the table, and answers with the number of times
    // that it grew by 1,000 elements.
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
    // The table would take 800 MB if all of it was written to.
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
