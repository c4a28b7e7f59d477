//! Bodies: standard input has the request's, standard output becomes the response's, piece by
//! piece.

use crate::support::command::{command, plain};
use crate::support::pattern;
use crate::support::server::guest;

/// A body of this size is more than the pipe and the sockets hold.
const LARGE: usize = 10 << 20;

#[test]
fn bodies_are_echoed() {
    let core = plain().echo().serve("--max-body 16MiB");
    let component = guest("commander", "--max-body 16MiB");
    for server in [&core, &component] {
        let mut client = server.client();
        for size in [0, 1, 4095, 4096, 65_535, 65_536, 65_537, 200_000, LARGE] {
            let body = pattern(size);
            let reply = client.request("POST", "/echo", &[], &body);
            assert_eq!(reply.status, 200, "{size} bytes");
            assert!(reply.body == body, "{size} bytes");
        }
    }
}

#[test]
fn a_chunked_body_is_whole() {
    let server = plain().echo().serve("");
    let mut client = server.client();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head).expect("a head");
    client
        .send(b"5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n")
        .expect("a body");
    assert_eq!(client.reply("POST").expect("a reply").text(), "hello world");
}

#[test]
fn standard_input_may_stay_unread() {
    let server = plain().print("done").serve("--max-body 16MiB");
    let mut client = server.client();
    for _ in 0..3 {
        assert_eq!(
            client.request("POST", "/", &[], &pattern(LARGE)).text(),
            "done"
        );
    }
}

#[test]
fn output_may_come_before_input() {
    let server = plain().print("first ").echo().print(" last").serve("");
    let reply = server.request("POST", "/", &[], b"then");
    assert_eq!(reply.text(), "first then last");
}

/// The head and the first bytes arrive while the command still runs.
#[test]
fn output_streams() {
    let server = plain()
        .print("first")
        .print_blocks(64, 4)
        .spin()
        .serve("--request-timeout 600s");
    let mut client = server.send("/");
    let head = client.head().expect("a head");
    assert_eq!(head.status, 200);
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    client.reset();
    // Its client is gone, and so is the process.
    server.wait_entry("process ended", |entry| entry["exit"] == "client-left");
}

/// 1 GiB goes through a pipe of some KiB. The client takes it as slowly as it reads.
#[test]
fn a_gibibyte_of_output_takes_no_memory() {
    const MOST_GROWTH: u64 = 32 << 20;
    let server = plain()
        .print_blocks(64, 1 << 14)
        .serve("--request-timeout 600s");
    assert_eq!(server.request("HEAD", "/none", &[], b"").status, 200);
    let before = server.memory("VmHWM");
    let mut client = server.send("/");
    let head = client.head().expect("a head");
    let mut bytes = 0_u64;
    let read = client.body("GET", &head, |piece| bytes += piece.len() as u64);
    read.expect("a whole body");
    assert_eq!(bytes, 1 << 30);
    let grown = server.grown(before);
    assert!(grown < MOST_GROWTH, "{grown} bytes");
}

/// A client that reads nothing holds its process, and nobody else's.
#[test]
fn a_client_that_does_not_read_holds_one_process() {
    let flags = "--workers 2 --header-timeout 600s --request-timeout 600s";
    let server = command().echo().serve(flags);
    let body = [b"Status: 200\n\n", &*vec![b'x'; 1 << 20]].concat();
    let mut slow = server.client();
    slow.ask("POST", "/", &body[..1 << 20]);
    for _ in 0..5 {
        let reply = server.request("POST", "/", &[], b"Status: 200\n\nquick");
        assert_eq!(reply.text(), "quick");
    }
    let reply = slow.reply("POST").expect("a reply");
    assert_eq!(reply.body.len(), (1 << 20) - b"Status: 200\n\n".len());
}
