//! The answers of the default worker, as users of a static server expect them: one table, one line
//! per case. `modes` runs the same cases in every mode.

use std::time::{Duration, SystemTime};

use crate::support::server::serve;
use crate::support::{Client, Folder, Reply, Server, eventually};

const HOME: &[u8] = b"<h1>home</h1>\n";
const TEN: &[u8] = b"0123456789";

type Fields = [(&'static str, &'static str)];

/// A request and the expected answer: a status, fields with their values, and the body where it
/// matters.
struct Case {
    method: &'static str,
    target: &'static str,
    fields: Vec<(&'static str, &'static str)>,
    status: u16,
    expected: Vec<(&'static str, &'static str)>,
    body: Option<&'static [u8]>,
}

#[rustfmt::skip] // one line per case
fn cases() -> Vec<Case> { vec![
    // Names
    get("/", 200, &[("content-type", "text/html; charset=utf-8"), ("content-length", "14")], HOME),
    get("/index.html", 200, &[("content-length", "14")], HOME),
    get("/?query=ignored", 200, &[], HOME),
    get("/folder/", 200, &[("content-type", "text/html; charset=utf-8")], b"folder"),
    get("/folder//page.html", 200, &[], b"page"),
    get("/%66older/p%61ge.html", 200, &[], b"page"),
    get("/with%20space.txt", 200, &[], b"space"),
    get("/%C3%BCber.txt", 200, &[], b"umlaut"),
    get("/100%25.txt", 200, &[], b"percent"),
    get("/plus+sign.txt", 200, &[], b"plus"),
    get("/question%3Fmark.txt", 200, &[], b"question"),
    get("/two..dots", 200, &[], b"dots"),
    get("/.well-known/security.txt", 200, &[], b"well known"),
    get("/inner-link.txt", 200, &[], TEN),
    refused("/missing", 404),
    refused("/ten.txt/", 404),
    refused("/ten.txt/deeper", 404),
    refused("/no-index/", 404),
    refused("/.hidden", 404),
    refused("/.git/config", 404),
    refused("/%2Egit/config", 404),
    refused("/folder/.env", 404),
    refused("/folder/../ten.txt", 404),
    refused("/./ten.txt", 404),
    refused("/folder%2Fpage.html", 404),
    refused("/%FF", 404),
    refused("/ten.txt%00.html", 400),
    refused("/%zz", 400),
    refused("/%4", 400),
    // Folders
    redirect("/folder", "/folder/"),
    redirect("/folder?a=1&b=%20", "/folder/?a=1&b=%20"),
    redirect("//folder", "/folder/"),
    redirect("/no-index", "/no-index/"),
    // Types
    get("/style.css", 200, &[("content-type", "text/css; charset=utf-8")], b"body { color: black }\n"),
    get("/picture.png", 200, &[("content-type", "image/png")], b"\x89PNG"),
    get("/module.wasm", 200, &[("content-type", "application/wasm")], b"\0asm"),
    get("/data.json", 200, &[("content-type", "application/json; charset=utf-8")], b"{}"),
    get("/LICENSE", 200, &[("content-type", "application/octet-stream")], b"licence"),
    get("/ten.txt", 200, &[("content-type", "text/plain; charset=utf-8"), ("accept-ranges", "bytes")], TEN),
    // Methods
    with("HEAD", "/ten.txt", &[], 200, &[("content-length", "10"), ("accept-ranges", "bytes")], b""),
    with("HEAD", "/missing", &[], 404, &[], b""),
    with("HEAD", "/folder", &[], 308, &[("location", "/folder/")], b""),
    with("OPTIONS", "/ten.txt", &[], 204, &[("allow", "GET, HEAD, OPTIONS")], b""),
    not_allowed("POST"),
    not_allowed("PUT"),
    not_allowed("DELETE"),
    not_allowed("PATCH"),
    not_allowed("TRACE"),
    not_allowed("BREW"),
    // Ranges
    range("bytes=0-0", "bytes 0-0/10", b"0"),
    range("bytes=2-4", "bytes 2-4/10", b"234"),
    range("bytes=5-", "bytes 5-9/10", b"56789"),
    range("bytes=-3", "bytes 7-9/10", b"789"),
    range("bytes=0-100", "bytes 0-9/10", TEN),
    range("bytes=-100", "bytes 0-9/10", TEN),
    range("bytes=9-99999999999999999999999", "bytes 9-9/10", b"9"),
    unsatisfiable("bytes=10-"),
    unsatisfiable("bytes=10-20"),
    unsatisfiable("bytes=-0"),
    unsatisfiable("bytes=99999999999999999999999-"),
    no_range("bytes=5-2"),
    no_range("bytes=x-y"),
    no_range("bytes=-"),
    no_range("bytes="),
    no_range("bytes"),
    no_range("lines=1-2"),
    no_range("bytes=0-1,4-5"),
    with("GET", "/empty", &[("range", "bytes=0-0")], 416, &[("content-range", "bytes */0")], b""),
    with("HEAD", "/ten.txt", &[("range", "bytes=0-1")], 200, &[("content-length", "10")], b""),
    // Compressed copies
    packed("br", "br", b"brotli"),
    packed("gzip", "gzip", b"gzipped"),
    packed("gzip, deflate, br", "br", b"brotli"),
    packed("br;q=0.1, gzip", "gzip", b"gzipped"),
    packed("*", "br", b"brotli"),
    unpacked("identity"),
    unpacked("br;q=0, gzip;q=0"),
    unpacked("zstd"),
    get("/style.css.gz", 200, &[], b"gzipped"),
    with("GET", "/style.css", &[("accept-encoding", "br"), ("range", "bytes=0-3")], 206, &[], b"body"),
    with("GET", "/stale.css", &[("accept-encoding", "gzip")], 200, &[], b"changed"),
    with("GET", "/picture.png", &[("accept-encoding", "gzip")], 200, &[], b"\x89PNG"),
] }

#[test]
fn every_case_of_the_table() {
    same_requests(&serve(site(), "--workers 2"));
}

#[test]
fn conditions_on_what_the_client_has() {
    conditional_requests(&serve(site(), "--workers 2"));
}

/// Runs all cases over one connection, and again with a new connection for each.
pub(crate) fn same_requests(server: &Server) {
    let mut client = server.client();
    for case in &cases() {
        check(case, &ask(case, &mut client));
    }
    for case in &cases() {
        check(case, &ask(case, &mut server.client()));
    }
}

/// Requests with conditions: the client names the version that it has, expects, or continues with.
pub(crate) fn conditional_requests(server: &Server) {
    let first = server.get("/ten.txt");
    let etag = first.field("etag").expect("a file has a tag").to_owned();
    let date = first
        .field("last-modified")
        .expect("a file has a date")
        .to_owned();
    let (weak, list) = (format!("W/{etag}"), format!("\"other\", {etag}"));
    let (before, after) = (
        "Sat, 01 Jan 2000 00:00:00 GMT",
        "Fri, 31 Dec 2100 00:00:00 GMT",
    );

    let is = |status: u16, fields: &[(&str, &str)]| {
        let reply = server.request("GET", "/ten.txt", fields, b"");
        assert_eq!(reply.status, status, "{fields:?}");
        let body: &[u8] = match status {
            200 => TEN,
            206 => b"01",
            _ => b"",
        };
        if status < 400 {
            assert_eq!(reply.body, body, "{fields:?}");
            assert_eq!(reply.field("etag"), Some(etag.as_str()), "{fields:?}");
        }
    };
    is(304, &[("if-none-match", &etag)]);
    is(304, &[("if-none-match", &weak)]);
    is(304, &[("if-none-match", &list)]);
    is(304, &[("if-none-match", "*")]);
    is(200, &[("if-none-match", "\"other\"")]);
    is(304, &[("if-modified-since", &date)]);
    is(304, &[("if-modified-since", after)]);
    is(200, &[("if-modified-since", before)]);
    is(200, &[("if-modified-since", "yesterday")]);
    is(
        200,
        &[("if-none-match", "\"other\""), ("if-modified-since", &date)],
    );
    is(200, &[("if-match", &etag)]);
    is(200, &[("if-match", "*")]);
    is(412, &[("if-match", "\"other\"")]);
    is(412, &[("if-match", &weak)]);
    is(200, &[("if-unmodified-since", &date)]);
    is(412, &[("if-unmodified-since", before)]);
    is(206, &[("range", "bytes=0-1"), ("if-range", &etag)]);
    is(206, &[("range", "bytes=0-1"), ("if-range", &date)]);
    is(200, &[("range", "bytes=0-1"), ("if-range", "\"other\"")]);
    is(200, &[("range", "bytes=0-1"), ("if-range", before)]);
    is(304, &[("range", "bytes=0-1"), ("if-none-match", &etag)]);
}

#[test]
fn a_changed_file_has_another_tag() {
    let server = serve(site(), "--workers 1");
    let before = server.get("/ten.txt");
    std::fs::write(server.folder.root().join("ten.txt"), "9876543210!").expect("the file changes");
    let etag = before.field("etag").expect("a file has a tag");
    eventually("the change is seen, and whole", || {
        let after = server.request("GET", "/ten.txt", &[("if-none-match", etag)], b"");
        match after.status {
            304 => None,
            status => {
                assert_eq!((status, after.body.as_slice()), (200, &b"9876543210!"[..]));
                Some(())
            }
        }
    });
}

#[test]
fn a_file_that_is_gone_is_not_remembered() {
    let server = serve(site(), "--workers 1");
    assert_eq!(server.get("/ten.txt").status, 200);
    std::fs::remove_file(server.folder.root().join("ten.txt")).expect("the file goes");
    eventually("it is forgotten", || {
        (server.get("/ten.txt").status == 404).then_some(())
    });
}

#[test]
fn compressed_copies_have_tags_of_their_own() {
    let server = serve(site(), "--workers 1");
    let tag = |coding: &str| {
        let reply = server.request("GET", "/style.css", &[("accept-encoding", coding)], b"");
        assert_eq!(reply.field("vary"), Some("accept-encoding"));
        reply.field("etag").expect("a file has a tag").to_owned()
    };
    let tags = [tag("identity"), tag("gzip"), tag("br")];
    assert!(
        tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2],
        "{tags:?}"
    );
}

/// The folder of the cases.
pub(crate) fn site() -> Folder {
    let folder = Folder::new()
        .file("index.html", HOME)
        .file("ten.txt", TEN)
        .file("empty", "")
        .file("folder/index.html", "folder")
        .file("folder/page.html", "page")
        .file("folder/.env", "hidden")
        .dir("no-index")
        .file(".hidden", "hidden")
        .file(".git/config", "hidden")
        .file(".well-known/security.txt", "well known")
        .file("with space.txt", "space")
        .file("über.txt", "umlaut")
        .file("100%.txt", "percent")
        .file("plus+sign.txt", "plus")
        .file("question?mark.txt", "question")
        .file("two..dots", "dots")
        .file("picture.png", b"\x89PNG")
        .file("picture.png.gz", "never sent for the picture")
        .file("module.wasm", b"\0asm")
        .file("data.json", "{}")
        .file("LICENSE", "licence")
        .file("style.css", "body { color: black }\n")
        .file("style.css.br", "brotli")
        .file("style.css.gz", "gzipped")
        .file("stale.css", "changed")
        .file("stale.css.gz", "older than what it was made from")
        .link("inner-link.txt", "folder/../ten.txt");
    // Copies are at least as new as their originals, except for the stale copy.
    let now = SystemTime::now();
    let root = folder.root();
    let set = |name: &str, time: SystemTime| {
        let file = std::fs::File::options().append(true).open(root.join(name));
        file.and_then(|file| file.set_modified(time))
            .expect("a file's time can be set");
    };
    set("style.css", now - Duration::from_secs(60));
    set("stale.css.gz", now - Duration::from_secs(60));
    folder
}

fn ask(case: &Case, client: &mut Client) -> Reply {
    client.request(case.method, case.target, &case.fields, b"")
}

fn check(case: &Case, reply: &Reply) {
    let Case {
        method,
        target,
        fields,
        status,
        expected,
        body,
    } = case;
    let about = format!("{method} {target} {fields:?}: {reply:?}");
    assert_eq!(reply.status, *status, "{about}");
    for (name, value) in expected {
        assert_eq!(reply.field(name), Some(*value), "{name} of {about}");
    }
    if let Some(body) = body {
        assert_eq!(reply.body, *body, "{about}");
    }
    assert!(reply.field("date").is_some(), "{about}");
}

fn with(
    method: &'static str,
    target: &'static str,
    fields: &Fields,
    status: u16,
    expected: &Fields,
    body: &'static [u8],
) -> Case {
    // The text of an error page is not tested.
    let body = (status < 300).then_some(body);
    let (fields, expected) = (fields.to_vec(), expected.to_vec());
    Case {
        method,
        target,
        fields,
        status,
        expected,
        body,
    }
}

fn get(target: &'static str, status: u16, expected: &Fields, body: &'static [u8]) -> Case {
    with("GET", target, &[], status, expected, body)
}

fn refused(target: &'static str, status: u16) -> Case {
    with("GET", target, &[], status, &[], b"")
}

fn redirect(target: &'static str, location: &'static str) -> Case {
    with("GET", target, &[], 308, &[("location", location)], b"")
}

fn not_allowed(method: &'static str) -> Case {
    with(
        method,
        "/ten.txt",
        &[],
        405,
        &[("allow", "GET, HEAD, OPTIONS")],
        b"",
    )
}

fn range(range: &'static str, content_range: &'static str, body: &'static [u8]) -> Case {
    let expected = [("content-range", content_range)];
    with("GET", "/ten.txt", &[("range", range)], 206, &expected, body)
}

fn unsatisfiable(range: &'static str) -> Case {
    let expected = [("content-range", "bytes */10")];
    with("GET", "/ten.txt", &[("range", range)], 416, &expected, b"")
}

fn no_range(range: &'static str) -> Case {
    with(
        "GET",
        "/ten.txt",
        &[("range", range)],
        200,
        &[("content-length", "10")],
        TEN,
    )
}

fn packed(accepted: &'static str, coding: &'static str, body: &'static [u8]) -> Case {
    let expected = [
        ("content-encoding", coding),
        ("content-type", "text/css; charset=utf-8"),
    ];
    with(
        "GET",
        "/style.css",
        &[("accept-encoding", accepted)],
        200,
        &expected,
        body,
    )
}

fn unpacked(accepted: &'static str) -> Case {
    let fields = [("accept-encoding", accepted)];
    let expected = [("vary", "accept-encoding"), ("content-length", "22")];
    with(
        "GET",
        "/style.css",
        &fields,
        200,
        &expected,
        b"body { color: black }\n",
    )
}
