//! What a guest sees of a request's head.

use super::both;

#[test]
fn targets_and_hosts() {
    let query = "q".repeat(8 << 10);
    let long = format!("GET /do?head&describe&print={query} HTTP/1.1\r\nhost: a\r\n");
    let long_seen = format!("GET /do?head&describe&print={query}\nhttp a\n");
    #[rustfmt::skip] // one line per case
    let cases = [
        ("GET /do?head&describe HTTP/1.1\r\nhost: a\r\n", "GET /do?head&describe\nhttp a\n"),
        ("GET /do?head&describe HTTP/1.1\r\nhost: a:80\r\n", "GET /do?head&describe\nhttp a:80\n"),
        ("GET /do?head&describe HTTP/1.1\r\nhost: [::1]:80\r\n", "GET /do?head&describe\nhttp [::1]:80\n"),
        ("GET /do?head&describe HTTP/1.1\r\nhost:\r\n", "GET /do?head&describe\nhttp HERE\n"),
        ("GET /do?head&describe HTTP/1.0\r\n", "GET /do?head&describe\nhttp HERE\n"),
        ("GET http://b:8/do?head&describe HTTP/1.1\r\nhost: a\r\n", "GET /do?head&describe\nhttp b:8\n"),
        ("GET http://b:8/do?head&describe HTTP/1.1\r\n", "GET /do?head&describe\nhttp b:8\n"),
        ("BREW /do?head&describe HTTP/1.1\r\nhost: a\r\n", "BREW /do?head&describe\nhttp a\n"),
        ("GET /do?head&describe HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-b: 2\r\nX-A: 3\r\n", "GET /do?head&describe\nhttp a\nx-a: 1\nx-a: 3\nx-b: 2\n"),
        ("GET /do?head&describe HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-a: 1\r\n", "GET /do?head&describe\nhttp a\nx-a: 1\n"),
        ("GET /table/target/%00//%zz\"{}?a%00 HTTP/1.1\r\nhost: a\r\n", "/table/target/%00//%zz\"{}?a%00"),
        (&*long, &*long_seen),
    ];
    for (kind, server) in &both("") {
        for (head, seen) in cases {
            let mut client = server.client();
            client
                .send(format!("{head}\r\n").as_bytes())
                .expect("a head");
            let reply = client.reply("GET").expect("a reply");
            let seen = seen.replace("HERE", &server.address().to_string());
            let mut lines: Vec<&str> = seen.lines().collect();
            let text = reply.text();
            // The host adds a trace context.
            let found = text
                .lines()
                .filter(|line| !line.starts_with("traceparent: "));
            let mut found: Vec<&str> = found.collect();
            // Fields of different names may come in any order.
            lines.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, lines, "{kind}, {head}");
        }
    }
}

#[test]
fn other_requests() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n", 404), // by the guest, which has no such path
        ("GET * HTTP/1.1\r\nhost: a\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n", 501),
        ("GET /do?head HTTP/1.1\r\n", 400),
        ("GET /do?head HTTP/1.1\r\nhost: ü\r\n", 400),
        ("GET /do?head HTTP/1.1\r\nhost: a\r\nhost: b\r\n", 400),
        ("GET //do?head HTTP/1.1\r\nhost: a\r\n", 404),
    ];
    for (kind, server) in &both("") {
        for (head, status) in cases {
            let mut client = server.client();
            client
                .send(format!("{head}\r\n").as_bytes())
                .expect("a head");
            let reply = client.reply("GET").expect("a reply");
            assert_eq!(reply.status, status, "{kind}, {head}: {reply:?}");
        }
    }
}
