//! Bodies of requests: too large, too slow, read late or never.

use super::{MIB, both, script};
use crate::support::http::request_bytes;
use crate::support::pattern;
use crate::support::table::upload;

#[test]
fn a_guest_may_answer_without_reading() {
    let body = pattern(10 * MIB);
    for (kind, server) in &both("--max-body 16MiB --workers 2") {
        for steps in ["head&say=done", "read&head&say=done"] {
            let reply = upload(&mut server.client(), &script(steps), &[], &body);
            assert_eq!(
                (reply.status, &*reply.text()),
                (200, "done"),
                "{kind}, {steps}"
            );
        }
        // No process waits for the rest of these bodies.
        server.wait_served(&script("head&say=next"));
        server.wait_living(2);
    }
}

#[test]
fn too_large() {
    for (kind, server) in &both("--max-body 100KiB --workers 1") {
        let declared = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 102401\r\n\r\n",
            script("head&count")
        );
        let mut client = server.client();
        client.send(declared.as_bytes()).expect("a head");
        let reply = client.reply("POST").expect("a reply");
        assert_eq!(reply.status, 413, "{kind}, declared");
        assert_eq!(
            server.wait_request(reply.request_id())["pid"].as_u64(),
            None,
            "{kind}"
        );
        // The guest may learn of it only after it has read most of the body.
        let piece = [b"4000\r\n", &*pattern(0x4000), b"\r\n"].concat();
        let mut chunked = format!(
            "POST {} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
            script("count&head")
        )
        .into_bytes();
        (0..10).for_each(|_| chunked.extend(&piece));
        chunked.extend(b"0\r\n\r\n");
        let mut client = server.client();
        client.send_meanwhile(chunked);
        assert_eq!(
            client.reply("POST").expect("a reply").status,
            413,
            "{kind}, chunked"
        );
        let fits = upload(
            &mut server.client(),
            &script("head&count"),
            &[],
            &pattern(100 << 10),
        );
        assert_eq!(fits.text(), "102400", "{kind}");
    }
}

/// What is short, or has not begun, costs no process. What comes later is waited for while the
/// guest reads.
#[test]
fn too_slow() {
    for (kind, server) in &both("--header-timeout 300ms --workers 1") {
        for (length, begun, has_process) in [
            (100, "", false),
            (100, "x", false),
            (100_000, "", false),
            (100_000, "x", true),
        ] {
            let mut client = server.client();
            let target = script("count&head");
            let head =
                format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
            client
                .send(format!("{head}{begun}").as_bytes())
                .expect("a head");
            let reply = client.reply("POST").expect("a reply");
            assert_eq!(reply.status, 408, "{kind}, {length} {begun:?}: {reply:?}");
            let pid = &server.wait_request(reply.request_id())["pid"];
            assert_eq!(pid.is_u64(), has_process, "{kind}, {length} {begun:?}");
        }
    }
}

#[test]
fn expected_bodies_are_asked_for() {
    for (kind, server) in &both("") {
        for size in [10, 200_000] {
            let body = pattern(size);
            let bytes = request_bytes(
                "POST",
                &script("head&count"),
                &[("expect", "100-continue")],
                &body,
            );
            let (head, body) = bytes.split_at(bytes.len() - size);
            let mut client = server.client();
            client.send(head).expect("a head");
            let mut interim = [0; 25];
            client.exact(&mut interim).expect("an interim response");
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "{kind}, {size}");
            client.send_meanwhile(body.to_vec());
            assert_eq!(
                client.reply("POST").expect("a reply").text(),
                size.to_string(),
                "{kind}"
            );
        }
    }
}

#[test]
fn a_client_that_has_sent_everything_may_close_its_side() {
    for (kind, server) in &both("") {
        let mut client = server.client();
        let bytes = request_bytes("POST", &script("sleep=100&head&echo"), &[], b"abc");
        client.send(&bytes).expect("a request");
        client.finish_sending().expect("one side is closed");
        assert_eq!(
            client.reply("POST").expect("a reply").text(),
            "abc",
            "{kind}"
        );
    }
}
