//! The static file server: any path names a public file below the root, or none. Any range gets
//! exactly its bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{changed, corpus, fuzz};
use crate::support::server::serve;
use crate::support::{Folder, Reply, pattern};

const SIZE: usize = 1000;

#[test]
fn any_path_names_a_public_file_or_none() {
    const PIECES: &[&str] = &[
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "%2f",
        "%5c",
        "\\",
        "%00",
        "%",
        "%zz",
        "%ff",
        "%c3%a9",
        "a",
        "b.txt",
        "link",
        "index.html",
        ".hidden",
        ".well-known",
        "outside",
        "secret",
        "root",
        "?",
        "?x=/..",
        ";",
        "~",
        "*",
        ":",
        "@x",
    ];
    let folder = Folder::new()
        .file("index.html", "public index")
        .file("a/b.txt", "public b")
        .file("a/index.html", "public a")
        .file(".hidden", "secret")
        .file("a/.git/config", "secret")
        .file(".well-known/a", "public well-known")
        .link("link", "../outside/secret");
    std::fs::write(folder.outside().join("secret"), "secret").expect("a file");
    let server = serve(folder, "--workers 2 --log-level warn");
    let path = vec(select(PIECES), 0..10).prop_map(|pieces| format!("/{}", pieces.concat()));
    fuzz(path, |path| {
        let reply = server.get(&path);
        match reply.status {
            200 => prop_assert!(reply.text().starts_with("public"), "{}: {:?}", path, reply),
            308 => {
                let location = reply.field("location").unwrap_or_default();
                let stays_here =
                    location.starts_with('/') && !location[1..].starts_with(['/', '\\']);
                prop_assert!(stays_here, "{}: {:?}", path, reply);
            }
            400 | 403 | 404 => prop_assert!(!reply.text().contains("secret\n"), "{:?}", reply),
            _ => prop_assert!(false, "{}: {:?}", path, reply),
        }
        Ok(())
    });
}

#[test]
fn any_range_gets_those_bytes() {
    const WORDS: &[&str] = &[
        "bytes=",
        "-",
        ",",
        ", ",
        " ",
        "0",
        "999",
        "1000",
        "99999999999999999999",
        "=",
        "*",
        "a",
        "\\t",
    ];
    let content = pattern(SIZE);
    let server = serve(
        Folder::new().file("file", &content),
        "--workers 2 --log-level warn",
    );
    let ranges = changed(corpus(include_str!("corpus/ranges.txt")), WORDS);
    fuzz(ranges, |range| {
        // A field can't have control characters. The fuzz test of requests has them.
        let range = String::from_utf8_lossy(&range).replace(|letter: char| letter.is_control(), "");
        let reply = server.request("GET", "/file", &[("range", &range)], b"");
        match reply.status {
            200 => prop_assert!(reply.body == content, "{}", range),
            206 => {
                let (first, last) = content_range(&reply).expect("a content-range");
                prop_assert!(
                    first <= last && last < SIZE,
                    "{}: {:?}",
                    range,
                    reply.fields
                );
                prop_assert!(
                    reply.body == content[first..=last],
                    "{}: {:?}",
                    range,
                    reply.fields
                );
            }
            416 => prop_assert_eq!(reply.field("content-range"), Some("bytes */1000")),
            400 => {} // the host's word on a field that is not HTTP
            _ => prop_assert!(false, "{}: {:?}", range, reply),
        }
        Ok(())
    });
}

/// The first and the last byte of the range.
fn content_range(reply: &Reply) -> Option<(usize, usize)> {
    let range = reply.field("content-range")?.strip_prefix("bytes ")?;
    let (first, last) = range.strip_suffix("/1000")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}
