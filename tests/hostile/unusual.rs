//! HTTP that is valid but rare: the server answers correctly.

use crate::support::http::request_bytes;
use crate::support::server::{guest, serve};
use crate::support::{Client, Folder, eventually, pattern};

#[test]
fn clients_who_say_that_they_have_said_all() {
    let server = serve(Folder::new().file("file", "content"), "--workers 2");
    let slow = guest("misbehave", "--workers 2");
    for _ in 0..100 {
        for (server, target) in [(&server, "/file"), (&slow, "/slow?ms=5")] {
            let mut client = server.client();
            let request = request_bytes("GET", target, &[], b"");
            client
                .send(&request.repeat(2))
                .expect("two requests are sent");
            client.finish_sending().expect("one side is closed");
            for _ in 0..2 {
                assert_eq!(client.reply("GET").expect("a reply").status, 200);
            }
            assert_eq!(
                client.rest().expect("an end"),
                b"",
                "nothing more is waited for"
            );
        }
    }
    // The same with a body, and with half of a body.
    let mut client = slow.client();
    let request = request_bytes("POST", "/echo", &[], b"the body");
    client.send(&request).expect("the request is sent");
    client.finish_sending().expect("one side is closed");
    assert!(
        client
            .reply("POST")
            .expect("a reply")
            .text()
            .ends_with("the body")
    );
    let mut client = slow.client();
    client
        .send(&request[..request.len() - 1])
        .expect("most of it is sent");
    client.finish_sending().expect("one side is closed");
    assert_eq!(client.reply("POST").expect("a reply").status, 400);
}

#[test]
fn requests_in_a_row_are_answered_in_order() {
    let server = guest("misbehave", "--workers 4");
    let mut client = server.client();
    let request = |number| (format!("/echo?{number}"), format!("body {number}"));
    client.ask_all("POST", &(0..100).map(request).collect::<Vec<_>>());
    for number in 0..100 {
        let reply = client.reply("POST").expect("a reply");
        let text = reply.text();
        assert!(
            text.starts_with(&format!("POST /echo?{number}\n")),
            "{text}"
        );
        assert!(text.ends_with(&format!("\n\nbody {number}")), "{text}");
    }
}

#[test]
fn requests_in_a_row_with_a_crash_among_them() {
    let server = guest("misbehave", "--workers 2");
    let mut client = server.client();
    let targets = ["/ok", "/trap", "/ok", "/big?bytes=70000", "/panic", "/ok"];
    for target in targets {
        client.ask("GET", target, b"");
    }
    let statuses: Vec<u16> = targets
        .map(|_| client.reply("GET").expect("a reply").status)
        .to_vec();
    assert_eq!(statuses, [200, 502, 200, 200, 502, 200]);
}

#[test]
fn a_request_in_single_bytes() {
    let server = guest("misbehave", "--workers 1");
    let mut client = server.client();
    for byte in request_bytes("POST", "/echo", &[("x-slow", "yes")], b"in single bytes") {
        client.send(&[byte]).expect("a byte is sent");
    }
    assert!(
        client
            .reply("POST")
            .expect("a reply")
            .text()
            .ends_with("\n\nin single bytes")
    );
}

#[test]
fn old_clients_and_those_that_close() {
    let server = serve(Folder::new().file("file", "content"), "--workers 1");
    for (request, keeps) in [
        ("GET /file HTTP/1.0\r\n\r\n", false),
        ("GET /file HTTP/1.0\r\nconnection: keep-alive\r\n\r\n", true),
        (
            "GET /file HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            false,
        ),
        ("GET /file HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ("GET http://x/file HTTP/1.1\r\nhost: x\r\n\r\n", true),
        ("\r\nGET /file HTTP/1.1\r\nhost: x\r\n\r\n", true),
    ] {
        let mut client = server.client();
        client
            .send(request.as_bytes())
            .expect("the request is sent");
        assert_eq!(
            client.reply("GET").expect("a reply").body,
            b"content",
            "{request:?}"
        );
        if keeps {
            assert_eq!(client.get("/file").status, 200, "{request:?}");
        } else {
            assert_eq!(client.rest().expect("an end"), b"", "{request:?}");
        }
    }
}

#[test]
fn a_client_that_expects_to_be_asked() {
    let server = guest("misbehave", "--workers 1 --max-body 1KiB");
    let mut client = server.client();
    let head =
        "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    client.send(head.as_bytes()).expect("the head is sent");
    eventually("the server says that it waits", || {
        client.has_news().then_some(())
    });
    client.send(b"body").expect("the body is sent");
    assert_eq!(client.reply("POST").expect("a reply").status, 200);

    let mut client = server.client();
    client
        .send(head.replace("length: 4", "length: 4000").as_bytes())
        .expect("the head is sent");
    assert_eq!(
        client.reply("POST").expect("a reply").status,
        413,
        "before anything of it is sent"
    );
}

#[test]
fn what_a_guest_sees_is_what_was_sent() {
    let server = guest("misbehave", "--workers 1");
    let fields = [("X-Twice", "1"), ("X-Latin", "\u{e9}"), ("X-Twice", "2")];
    let reply = server.request("POST", "/echo?a=%00&b=/../", &fields, b"a\0b");
    let expected = b"POST /echo?a=%00&b=/../\nhost: localhost\nx-twice: 1\nx-latin: \xe9\nx-twice: 2\ncontent-length: 3\n\na\0b";
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<Vec<u8>> = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.starts_with(b"traceparent: ")) // the host's own
            .map(<[u8]>::to_vec)
            .collect();
        lines.sort();
        lines
    };
    // Fields of different names may come in any order.
    assert_eq!(sorted(&reply.body), sorted(expected), "{}", reply.text());
}

#[test]
fn a_trace_context_is_taken_over_or_made() {
    const SENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let server = guest("misbehave", "--workers 1");
    let mut seen = Vec::new();
    for (number, fields) in [
        &[("traceparent", SENT)][..],
        &[],
        &[("traceparent", "00-1-1-00")],
        &[("traceparent", SENT), ("traceparent", SENT)],
    ]
    .into_iter()
    .enumerate()
    {
        let text = server.request("GET", "/echo", fields, b"").text();
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix("traceparent: "));
        let value = values.next().expect("the guest gets one").to_owned();
        assert_eq!((values.next(), value.len()), (None, SENT.len()), "{text}");
        let logged = server.wait_request(number as u64 + 1)["trace"].clone();
        assert_eq!(logged, value[3..35], "{fields:?}");
        seen.push(value);
    }
    assert_eq!(seen[0], SENT);
    let made = &seen[1..];
    assert!(
        made.iter()
            .all(|value| value.ends_with("-00") && value[3..35] != SENT[3..35])
    );
    assert!(made[0] != made[1] && made[1] != made[2], "{made:?}");
}

#[test]
fn bodies_of_all_bytes_arrive() {
    let server = guest("misbehave", "--workers 2 --max-body 2MiB");
    let send = |mut client: Client| {
        for size in [1, 1000, 65_535, 65_536, 1 << 20] {
            let body = pattern(size);
            let reply = client.request("PUT", "/echo", &[], &body);
            assert_eq!(reply.status, 200);
            assert!(reply.body.ends_with(&body), "{size} B");
        }
    };
    std::thread::scope(|scope| {
        for client in server.clients(2) {
            scope.spawn(move || send(client));
        }
    });
}
