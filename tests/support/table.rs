//! One table of behaviour for workers of every kind and language. A worker answers these paths
//! below a base of its choice:
//!
//! | path | answer |
//! |---|---|
//! | `/echo` | the request's body |
//! | `/method` | the request's method |
//! | `/fields` | the values of all fields `x-test`, joined by `, `; with two fields `set-cookie` |
//! | `/target/…` | the request's path and query as they came |
//! | `/status?N` | status N without a body |
//! | `/crash` | none: the process traps, throws or exits with a code |
//! | `/spin` | none: the process computes for ever |
//! | `/memory` | none: the process asks for memory until there is no more |
//! | all others | `404` |

use super::http::request_bytes;
use super::{Client, Reply, Server, pattern};

/// The flags that a server needs for [`behaves`].
pub(crate) const FLAGS: &str = "--max-body 16MiB --memory 128MiB --workers 2";

/// The flags that a server needs for [`spins`].
pub(crate) const SPIN_FLAGS: &str = "--request-timeout 500ms --workers 2";

const MIB: usize = 1 << 20;

/// Checks all of the table but `/spin`. What crashes is answered with this status. The server has
/// [`FLAGS`].
pub(crate) fn behaves(server: &Server, base: &str, crashed: u16) {
    let mut client = server.client();
    let mut get = |path: &str| client.get(&format!("{base}{path}"));
    #[rustfmt::skip] // one line per case
    let cases = [
        ("/target/a", 200), ("/target/a%20b", 200), ("/target/%C3%A4%2F%2f", 200),
        ("/target/a//b/", 200), ("/target/a?", 200), ("/target/a?q=%41&r=a+b&q=", 200), ("/target/%3F?%3F?", 200),
        ("/status?204", 204), ("/status?304", 304), ("/status?418", 418), ("/nothing", 404), ("/", 404),
    ];
    for (path, status) in cases {
        let reply = get(path);
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        if path.starts_with("/target") {
            // A query without bytes is as good as none.
            let target = format!("{base}{path}");
            assert_eq!(
                reply.text().trim_end_matches('?'),
                target.trim_end_matches('?')
            );
        } else if status != 404 {
            assert_eq!(reply.text(), "", "{path}");
        }
    }
    methods(&mut server.client(), base);
    bodies(&mut server.client(), base);
    fields(&mut server.client(), base);
    for path in ["/crash", "/memory"] {
        let reply = server.get(&format!("{base}{path}"));
        assert_eq!(reply.status, crashed, "{path}: {reply:?}");
        assert_eq!(get("/method").text(), "GET", "after {path}");
    }
}

/// Checks `/spin`. The server has [`SPIN_FLAGS`].
pub(crate) fn spins(server: &Server, base: &str) {
    let mut client = server.send(&format!("{base}/spin"));
    assert_eq!(
        server.get(&format!("{base}/method")).text(),
        "GET",
        "meanwhile"
    );
    let reply = client.reply("GET").expect("a reply");
    assert_eq!(reply.status, 504, "{reply:?}");
    assert_eq!(
        server.get(&format!("{base}/method")).text(),
        "GET",
        "after it"
    );
}

fn methods(client: &mut Client, base: &str) {
    let target = format!("{base}/method");
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let reply = client.request(method, &target, &[], b"");
        assert_eq!((reply.status, &*reply.text()), (200, method));
    }
    for path in ["/method", "/echo", "/status?204", "/status?304"] {
        let reply = client.request("HEAD", &format!("{base}{path}"), &[], b"");
        assert!(
            matches!(reply.status, 200 | 204 | 304),
            "HEAD {path}: {reply:?}"
        );
    }
    // Bytes of a body would have come before this.
    assert_eq!(client.get(&target).text(), "GET", "after HEAD");
}

fn bodies(client: &mut Client, base: &str) {
    let target = format!("{base}/echo");
    for size in [0, 1, 1000, 65_535, 65_536, 65_537, MIB, 10 * MIB] {
        let body = pattern(size);
        let reply = upload(client, &target, &[], &body);
        assert_eq!(reply.status, 200, "{size} bytes: {:?}", reply.fields);
        assert!(
            reply.body == body,
            "{size} bytes, and {} are back",
            reply.body.len()
        );
    }
}

fn fields(client: &mut Client, base: &str) {
    let target = format!("{base}/fields");
    for values in [&["a"][..], &["a", "b"], &["a, b", "c=\"d\""]] {
        let given: Vec<_> = values.iter().map(|value| ("X-Test", *value)).collect();
        let reply = client.request("GET", &target, &given, b"");
        assert_eq!(reply.text(), values.join(", "), "{values:?}");
        let cookies = reply.fields.iter().filter(|field| field.0 == "set-cookie");
        let cookies: Vec<&str> = cookies.map(|field| &*field.1).collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
    }
}

/// Sends a body and reads the reply at the same time.
pub(crate) fn upload(
    client: &mut Client,
    target: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    client.send_meanwhile(request_bytes("POST", target, fields, body));
    client.reply("POST").expect("a reply")
}
