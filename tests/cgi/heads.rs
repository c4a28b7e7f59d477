//! The head of a response is what a command prints first. The command here prints what it is sent.

use crate::support::Reply;
use crate::support::command::command;

/// What is printed, and the response: its status, its fields, its body.
type Case<'a> = (&'a str, u16, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn heads_are_read() {
    let server = command().echo().serve("");
    let long = format!("X-Long: {}\nStatus: 200\n\n", "x".repeat(20_000));
    #[rustfmt::skip] // one line per case
    let cases: [Case<'_>; 22] = [
        ("Content-Type: text/plain\n\nhello", 200, &[("content-type", "text/plain")], "hello"),
        ("Content-Type: text/plain\r\n\r\nhello", 200, &[("content-type", "text/plain")], "hello"),
        ("Content-Type: text/plain\r\n\nhello", 200, &[("content-type", "text/plain")], "hello"),
        ("Content-Type: text/plain\n\r\nhello", 200, &[("content-type", "text/plain")], "hello"),
        ("content-TYPE:text/plain\n\n", 200, &[("content-type", "text/plain")], ""),
        ("Content-Type: text/plain\n\n\n\na: b\n\n", 200, &[], "\n\na: b\n\n"),
        ("Status: 404 Not Found\n\n", 404, &[], ""),
        ("Status: 404\n\n", 404, &[], ""),
        ("Status: 404 \r\n\r\n", 404, &[], ""),
        ("status:500 Of No Use\nX-A: b\n\nsorry", 500, &[("x-a", "b")], "sorry"),
        ("Location: http://example.org/\n\n", 302, &[("location", "http://example.org/")], ""),
        ("Location: /elsewhere?a=b\n\n", 302, &[("location", "/elsewhere?a=b")], ""),
        ("Status: 301 Moved\nLocation: /a\nContent-Type: text/plain\n\ngone", 301, &[("location", "/a")], "gone"),
        ("Location: /made\nStatus: 201\n\n", 201, &[("location", "/made")], ""),
        ("Status: 204\n\n", 204, &[], ""),
        ("Status: 204\n\nwhat nobody wants", 204, &[], ""),
        ("Status: 304\nEtag: \"a\"\n\n", 304, &[("etag", "\"a\"")], ""),
        ("Status: 200\nContent-Length: 5\n\nhello", 200, &[("content-length", "5")], "hello"),
        ("Status: 200\nX-Empty:\n\n", 200, &[("x-empty", "")], ""),
        ("Status: 200\nX-Colon: a:b: c\n\n", 200, &[("x-colon", "a:b: c")], ""),
        ("Status: 200\nConnection: close\nKeep-Alive: 5\n\nkept", 200, &[], "kept"),
        (&long, 200, &[], ""),
    ];
    let mut client = server.client(); // one connection for all: each body ends where it should
    for (printed, status, fields, body) in cases {
        let reply = client.request("POST", "/", &[], printed.as_bytes());
        assert_eq!(reply.status, status, "{printed:?}: {reply:?}");
        for (name, value) in fields {
            assert_eq!(reply.field(name), Some(*value), "{printed:?}: {reply:?}");
        }
        assert_eq!(reply.text(), body, "{printed:?}");
        assert_eq!(reply.field("connection"), None, "{printed:?}");
    }
}

#[test]
fn repeated_fields_stay_apart() {
    let server = command().echo().serve("");
    let printed = b"Set-Cookie: a=1\nStatus: 200\nset-cookie: b=2; Path=/\nSet-Cookie: a=3\n\n";
    let reply = server.request("POST", "/", &[], printed);
    let cookies = |reply: &Reply| -> Vec<String> {
        let fields = reply.fields.iter().filter(|(name, _)| name == "set-cookie");
        fields.map(|(_, value)| value.clone()).collect()
    };
    assert_eq!(cookies(&reply), ["a=1", "b=2; Path=/", "a=3"]);
}

/// What is no head is answered with 502, and the log says what is wrong with it.
#[test]
fn malformed_heads_are_refused() {
    let server = command().echo().serve("");
    let long = format!("X-Long: {}\nStatus: 200\n\n", "x".repeat(70_000));
    #[rustfmt::skip] // one line per case
    let cases = [
        ("X-A: b\n\nhello", "neither Content-Type, nor Status, nor Location"),
        ("\nhello", "neither Content-Type, nor Status, nor Location"),
        ("\r\nhello", "neither Content-Type, nor Status, nor Location"),
        ("HTTP/1.1 200 OK\nContent-Type: text/plain\n\n", "a status line, \"HTTP/1.1 200 OK\": CGI has a Status"),
        ("<html>\n\n", "a line without a colon: \"<html>\""),
        ("Status: 200\n folded: line\n\n", "a line that is no field: \" folded: line\""),
        ("Status : 200\n\n", "a line that is no field"),
        (": 200\n\n", "a line that is no field"),
        ("Status: OK\n\n", "its Status is no number of three digits: \"OK\""),
        ("Status: 20\n\n", "its Status is no number of three digits"),
        ("Status: 2000\n\n", "its Status is no number of three digits"),
        ("Status:\n\n", "its Status is no number of three digits"),
        ("Status: 200\nStatus: 404\n\n", "two Status fields"),
        ("Status: 100\n\n", "status 100"),
        ("Status: 999\n\n", "status 999"),
        ("Status: 200\nTransfer-Encoding: chunked\n\n0\r\n\r\n", "transfer-encoding"),
        ("Status: 200\nContent-Length: five\n\nhello", "content-length"),
        ("Status: 200\nContent-Length: 6\n\nhello", "1 bytes less than its Content-Length"),
        ("Status: 200\nContent-Length: 4\n\nhello", "more bytes than its Content-Length"),
        ("hello, world\n", "no empty line, which ends a head; it begins with \"hello, world\""),
        ("Content-Type: text/plain", "no empty line, which ends a head"),
        (&long, "more than 65536 bytes"),
    ];
    for (printed, reason) in cases {
        let reply = server.request("POST", "/", &[], printed.as_bytes());
        assert_eq!(reply.status, 502, "{printed:?}: {reply:?}");
        let logged = server.wait_reason(reply.request_id());
        assert!(logged.contains(reason), "{printed:?}: {logged}");
    }
}

#[test]
fn a_head_request_gets_no_body() {
    let server = command()
        .print("Content-Length: 5\nStatus: 200\n\nhello")
        .serve("");
    let mut client = server.client();
    for (method, body) in [("HEAD", ""), ("GET", "hello"), ("HEAD", "")] {
        let reply = client.request(method, "/", &[], b"");
        assert_eq!((reply.status, &*reply.text()), (200, body), "{method}");
        assert_eq!(reply.field("content-length"), Some("5"), "{method}");
    }
    // A command may know that nobody wants the body.
    let server = command()
        .print("Content-Length: 5\nStatus: 200\n\n")
        .serve("");
    let reply = server.request("HEAD", "/", &[], b"");
    assert_eq!(
        (reply.status, reply.field("content-length")),
        (200, Some("5"))
    );
}
