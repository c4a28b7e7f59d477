//! What a command finds in its variables and arguments (RFC 3875, section 4.1).

use std::collections::BTreeMap;

use crate::support::command::plain;
use crate::support::server::Server;
use crate::support::{Client, Folder, server};

/// Sends these bytes to a command that prints its variables.
fn variables(server: &Server, request: &[u8]) -> BTreeMap<String, String> {
    let mut client: Client = server.client();
    client.send(request).expect("the request is sent");
    let reply = client.reply("GET").expect("a reply");
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = reply.text();
    let lines = text
        .lines()
        .map(|line| line.split_once('=').expect("a name and a value"));
    let pairs: Vec<_> = lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let count = pairs.len();
    let variables: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(variables.len(), count, "no variable is set twice: {text}");
    variables
}

#[test]
fn a_request_becomes_variables() {
    let server = plain().environ().serve("");
    let port = server.address().port().to_string();
    let set = variables(
        &server,
        b"POST /a%20b/%c3%bc%2F..?x=%20&y HTTP/1.1\r\nHost: example.org:81\r\n\
          Content-Type: text/x-y\r\nContent-Length: 3\r\nX-Forwarded-For: 1.2.3.4\r\n\r\nabc",
    );
    let software = concat!("wasm-pool-host/", env!("CARGO_PKG_VERSION"));
    #[rustfmt::skip] // one line per case
    let cases = [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", software),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", &port),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/a%20b/%c3%bc%2F..?x=%20&y"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/a b/ü/.."),
        ("QUERY_STRING", "x=%20&y"),
        ("CONTENT_TYPE", "text/x-y"),
        ("CONTENT_LENGTH", "3"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REQUEST_SCHEME", "http"),
        ("DOCUMENT_ROOT", "/"),
        ("SCRIPT_FILENAME", "/a b/ü/.."),
        ("REDIRECT_STATUS", "200"),
        ("HTTP_HOST", "example.org:81"),
        ("HTTP_X_FORWARDED_FOR", "1.2.3.4"),
    ];
    for (name, value) in cases {
        assert_eq!(
            set.get(name).map(String::as_str),
            Some(value),
            "{name}: {set:?}"
        );
    }
    assert!(set["REMOTE_PORT"].parse::<u16>().is_ok(), "{set:?}");
    assert!(set.contains_key("HTTP_TRACEPARENT"), "{set:?}");
    assert_eq!(set.len(), cases.len() + 2, "{set:?}");
}

#[test]
fn variables_follow_the_request() {
    let server = plain().environ().serve("");
    #[rustfmt::skip] // one line per case
    let cases: [(&[u8], &str, Option<&str>); 24] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "QUERY_STRING", Some("")),
        (b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n", "QUERY_STRING", Some("")),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "CONTENT_LENGTH", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "CONTENT_TYPE", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "CONTENT_LENGTH", Some("5")),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP_TRANSFER_ENCODING", None),
        (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "SERVER_NAME", Some("[::1]")),
        (b"GET / HTTP/1.0\r\n\r\n", "SERVER_NAME", Some("127.0.0.1")),
        (b"GET /%zz%4 HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_INFO", Some("/%zz%4")),
        (b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_INFO", None),
        (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_INFO", None),
        (b"GET /a%00b HTTP/1.1\r\nHost: a\r\n\r\n", "REQUEST_URI", Some("/a%00b")),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "PATH_INFO", Some("")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nx-a: 2\r\nX-A: 3\r\n\r\n", "HTTP_X_A", Some("1, 2, 3")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n", "HTTP_COOKIE", Some("a=1; b=2")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX_A: 2\r\n\r\n", "HTTP_X_A", Some("1")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX_A: 2\r\n\r\n", "HTTP_X_A", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX.A: 2\r\n\r\n", "HTTP_X.A", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nProxy: http://evil\r\n\r\n", "HTTP_PROXY", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eDp5\r\n\r\n", "HTTP_AUTHORIZATION", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic eDp5\r\n\r\n", "HTTP_PROXY_AUTHORIZATION", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5\r\nTE: trailers\r\n\r\n", "HTTP_TE", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP_CONNECTION", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: \xff\r\n\r\n", "HTTP_X_A", None),
    ];
    for (request, name, value) in cases {
        let set = variables(&server, request);
        let shown = String::from_utf8_lossy(request);
        assert_eq!(set.get(name).map(String::as_str), value, "{shown}\n{set:?}");
    }
    let warned = server.wait_entry(
        "variables are left out: their values are not UTF-8, or have a NUL",
        |_| true,
    );
    assert!(warned["variables"].is_string(), "{warned}");
}

/// A client's field must not take the place of a variable that the user has set.
#[test]
fn the_users_variables_count() {
    let server = plain()
        .environ()
        .serve("--env HTTP_X_KEY=mine --env SCRIPT_FILENAME=/app.php --env A=b");
    let set = variables(
        &server,
        b"GET /other HTTP/1.1\r\nHost: a\r\nX-Key: theirs\r\n\r\n",
    );
    #[rustfmt::skip] // one line per case
    let cases = [("HTTP_X_KEY", "mine"), ("SCRIPT_FILENAME", "/app.php"), ("A", "b"), ("PATH_INFO", "/other")];
    for (name, value) in cases {
        assert_eq!(
            set.get(name).map(String::as_str),
            Some(value),
            "{name}: {set:?}"
        );
    }
}

#[test]
fn arguments_are_the_users() {
    let module = "component.wat";
    #[rustfmt::skip] // one line per case
    let cases = [
        ("", format!("{module}\n")),
        ("--arg /app.py --arg=-x", format!("{module}\n/app.py\n-x\n")),
    ];
    for (flags, args) in cases {
        let server = plain().args().serve(flags);
        // Apache passes on words of the query here, and so has passed on options to php-cgi.
        assert_eq!(server.get("/?-s+-d").text(), args, "{flags}");
    }
}

/// Start code runs ahead of any request. What it has seen of the variables doesn't stay.
#[test]
fn start_code_may_look_around() {
    let command = plain().environ().text();
    let command = command.replacen("  CODE", "", 1).replacen(
        "(func (export \"_start\")",
        "(func $first (call $must (call $environ_sizes_get (i32.const 40) (i32.const 44))))
         (start $first)
         (func (export \"_start\")",
        1,
    );
    let server = server::component(&command, Folder::new(), "");
    let set = variables(&server, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(set["PATH_INFO"], "/a");
}

/// The same in a component made by a compiler, whose standard library reads the variables.
#[test]
fn a_component_finds_them_too() {
    let server = server::guest("commander", "--env A=b --arg c");
    let get = |target: &str| server.get(target).text();
    let set = variables(
        &server,
        b"GET /environ?x HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    );
    #[rustfmt::skip] // one line per case
    let cases = [("A", "b"), ("QUERY_STRING", "x"), ("HTTP_X_A", "1, 2"), ("PATH_INFO", "/environ")];
    for (name, value) in cases {
        assert_eq!(
            set.get(name).map(String::as_str),
            Some(value),
            "{name}: {set:?}"
        );
    }
    assert_eq!(get("/args"), "commander.wasm\nc\n");
    assert_eq!(get("/read?/there"), "error: entity not found\n");
    let folder = Folder::new().file("there", "content");
    let server = server::guest_over("commander", folder, "--wasi-root");
    assert_eq!(server.get("/read?/there").text(), "content");
}
