//! Answers have the exact bytes on the disk, for files of every size. Files are streamed with
//! bounded memory. If a file shrinks meanwhile, the answer is visibly cut short.

use std::fs;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::scripts::outcome;
use crate::support::server::{guest_over, serve};
use crate::support::{Folder, PATIENCE, Server, eventually, pattern, sparse};

const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

#[test]
fn byte_exact_at_every_size() {
    // An off-by-one error would show around each size. The default worker gives files away from 64
    // KiB on, and one read returns 1 MiB at most.
    let around = |size: usize| [size - 1, size, size + 1];
    let sizes = [0, 1].into_iter().chain(
        [KIB, 4 * KIB, 64 * KIB, KIB * KIB, 3 * KIB * KIB]
            .map(around)
            .concat(),
    );
    let sizes: Vec<usize> = sizes.collect();
    let folder = sizes.iter().fold(Folder::new(), |folder, &size| {
        folder.file(&size.to_string(), pattern(size))
    });
    let server = serve(folder, "--workers 2");
    let mut client = server.client();
    for size in sizes {
        let reply = client.get(&format!("/{size}"));
        assert_eq!(reply.status, 200);
        assert_eq!(
            reply.field("content-length"),
            Some(size.to_string().as_str())
        );
        assert!(
            reply.body == pattern(size),
            "a file of {size} B came back with {} B",
            reply.body.len()
        );

        let head = client.request("HEAD", &format!("/{size}"), &[], b"");
        assert_eq!(
            head.field("content-length"),
            Some(size.to_string().as_str())
        );
    }
}

#[test]
fn ranges_of_files_that_are_streamed() {
    let content = pattern(MIB as usize);
    let server = serve(Folder::new().file("big", &content), "--workers 1");
    let mut client = server.client();
    for (first, last) in [
        (0, 0),
        (0, 65_535),
        (65_535, 65_537),
        (1, MIB - 2),
        (MIB - 1, MIB - 1),
        (500_000, 700_000),
    ] {
        let range = format!("bytes={first}-{last}");
        let reply = client.request("GET", "/big", &[("range", &range)], b"");
        assert_eq!(reply.status, 206, "{range}");
        assert!(
            reply.body == content[first as usize..=last as usize],
            "{range}"
        );
    }
}

#[test]
fn a_gibibyte_with_bounded_memory() {
    let server = serve(sparse::gibibyte(), "--workers 2");
    assert_eq!(server.request("HEAD", "/gibibyte", &[], b"").status, 200);
    let before = server.memory("VmRSS");

    let mut client = server.client();
    sparse::read_gibibyte(&mut client);
    let grown = server.memory("VmHWM").saturating_sub(before);
    assert!(grown < 64 * MIB, "memory grew by {grown} B");

    let range = format!("bytes={}-", GIB - 8);
    let end = client.request("GET", "/gibibyte", &[("range", &range)], b"");
    assert_eq!(
        (end.status, end.body.as_slice()),
        (206, b"\0\0\0\0last".as_slice())
    );
}

#[test]
fn a_file_that_shrinks_ends_the_connection() {
    let size = 256 * MIB;
    let folder = Folder::new();
    let path = folder.root().join("shrinks");
    let folder = folder.file("other", "other").sparse("shrinks", size);
    let server = serve(folder, "--workers 2");

    let mut client = server.send("/shrinks");
    let head = client.head().expect("a head");
    assert_eq!(
        head.field("content-length"),
        Some(size.to_string().as_str())
    );
    // The rest of the file is larger than the sockets' buffers, so the host is in the middle of the
    // file.
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(MIB))
        .expect("the file shrinks");
    let mut count = 0;
    let ended = client.body("GET", &head, |piece| count += piece.len() as u64);
    assert!(ended.is_err() && count < size, "{ended:?} after {count} B");

    assert_eq!(server.get("/other").body, b"other");
}

#[test]
fn a_file_that_grows_is_sent_as_long_as_it_was() {
    let size = 32 * MIB;
    let folder = Folder::new();
    let path = folder.root().join("grows");
    let server = serve(folder.sparse("grows", size), "--workers 1");

    let mut client = server.send("/grows");
    let head = client.head().expect("a head");
    let mut file = File::options().append(true).open(&path).expect("the file");
    file.write_all(b"and more").expect("the file grows");
    let mut count = 0;
    client
        .body("GET", &head, |piece| count += piece.len() as u64)
        .expect("the whole body");
    assert_eq!(count, size);
    assert_eq!(
        client.get("/missing").status,
        404,
        "the connection goes on after it"
    );
}

#[test]
fn a_slow_reader_holds_no_process() {
    let folder = Folder::new().file("other", "other").sparse("big", GIB);
    let server = serve(folder, "--workers 1 --queue-timeout 50s");
    let mut slow = server.send("/big");
    let head = slow.head().expect("a head");
    assert_eq!(head.status, 200);
    // The client reads no further. The only process has given the file away and serves others.
    assert_eq!(server.get("/other").body, b"other");
}

#[test]
fn a_reader_that_leaves_gives_the_descriptor_back() {
    let folder = Folder::new().file("other", "other").sparse("big", GIB);
    let server = serve(folder, "--workers 1");
    assert_eq!(server.get("/other").status, 200);
    for _ in 0..10 {
        let mut client = server.send("/big");
        assert_eq!(client.head().expect("a head").status, 200);
    }
    // One descriptor may stay open: the host keeps descriptors that it may need again.
    eventually("the descriptors are closed", || {
        (server.open_files("big") <= 1).then_some(())
    });
}

#[test]
fn a_reader_in_no_hurry_gets_everything() {
    let content = pattern(4 * MIB as usize);
    let server = serve(Folder::new().file("big", &content), "--workers 1");
    let mut stream = std::net::TcpStream::connect(server.address()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .expect("the request is sent");
    let mut reply = Vec::new();
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => reply.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(reply.ends_with(&content));
}

#[test]
fn a_root_that_is_a_link_is_followed_where_it_leads() {
    // As in deployments: the link `current` changes from one release to another in one step.
    let (folder, current) = releases();
    symlink("41", &current).expect("a link");
    let next = folder.path().join("next");
    let root = from_here(&current);
    let server = serve(folder, &flags(&root));
    deployed(&server, || {
        symlink("42", &next).expect("a link");
        fs::rename(&next, &current).expect("the link leads elsewhere");
    });
    server.wait_entries("the root leads to another folder", 1);
}

#[test]
fn a_root_that_is_put_aside_is_followed_where_another_takes_its_place() {
    let (folder, current) = releases();
    let (old, new) = (folder.path().join("41"), folder.path().join("42"));
    fs::rename(&old, &current).expect("the folder of this release");
    let server = serve(folder, &flags(&current));
    deployed(&server, || {
        // For a moment there is no root, and no client notices.
        fs::rename(&current, &old).expect("put aside");
        fs::rename(&new, &current).expect("in its place");
    });
}

#[test]
fn a_root_that_was_deleted_is_found_again() {
    let (folder, current) = releases();
    let (old, new) = (folder.path().join("41"), folder.path().join("42"));
    fs::rename(&old, &current).expect("the folder of this release");
    let server = serve(folder, &flags(&current));
    assert_eq!(server.get("/small").text(), "41");
    fs::remove_dir_all(&current).expect("deleted");
    for name in ["/small", "/large"] {
        eventually("there is nothing", || {
            (server.get(name).status == 404).then_some(())
        });
    }
    // The host looks for the root only when a client requests a file.
    eventually("it is said that there is no root", || {
        server.get("/small"); // one thread may use its cached copy a moment longer than another
        let said = server.entries("the root leads nowhere; the last folder stays");
        (!said.is_empty()).then(|| assert_eq!(said.len(), 1))
    });
    fs::rename(&new, &current).expect("in its place");
    for name in ["/small", "/large"] {
        eventually("the new release is there", || {
            server.get(name).text().starts_with("42").then_some(())
        });
    }
}

#[test]
fn a_variant_takes_the_place_of_its_original() {
    const FIRST: u64 = 1_000_000_000;
    let folder = Folder::new()
        .dir("folder")
        .link("outside", "/etc/passwd")
        .link("loop", "loop");
    let seconds = Duration::from_secs;
    let half = Duration::from_millis(500);
    // Each file has a different size, so that the size identifies the file.
    for (name, size, age) in [
        ("original", 1, seconds(FIRST) + half),
        ("newer", 2, seconds(FIRST + 1)),
        ("as-old", 3, seconds(FIRST)),
        ("older", 4, seconds(FIRST - 1) + half),
        ("large", 100_000, seconds(FIRST)),
    ] {
        let path = folder.root().join(name);
        fs::write(&path, pattern(size)).expect("a file");
        let file = File::options().append(true).open(path);
        file.and_then(|file| file.set_modified(UNIX_EPOCH + age))
            .expect("a time");
    }
    let server = guest_over("actor", folder, "--max-open-files 1");
    for (paths, expected) in [
        ("original", "original 1"),
        ("original newer", "newer 2"),
        ("original as-old newer", "as-old 3"),
        ("original older", "original 1"),
        ("original older newer", "newer 2"),
        ("original none large as-old", "large 100000"),
        ("large original", "original 1"),
        (
            "original folder loop outside /etc/passwd .. x*5000 newer",
            "newer 2",
        ),
        ("original folder", "original 1"),
        ("none newer", "no-entry"),
        ("folder newer", "is-directory"),
        ("original/x newer", "not-directory"),
        ("outside newer", "access"),
        ("x*5000 newer", "name-too-long"),
        ("x*2000000 newer", "name-too-long"),
        ("original x*2000000", "too-large"),
        ("original 1 2 3 4 5 6 7 newer", "newer 2"),
        ("original 1 2 3 4 5 6 7 8 newer", "too-large"),
    ] {
        // Only one file may be open. So this call must close the other files that it opens.
        assert_eq!(
            outcome(&server, &format!("open-variant {paths}")),
            expected,
            "{paths}"
        );
    }
    assert_eq!(
        outcome(&server, "open newer; open-variant original newer"),
        "too-many-open"
    );
    assert_eq!(outcome(&server, "open-variant none newer"), "too-many-open");
}

/// Two releases, 41 and 42, and the path for the current release. The host copies a small file,
/// keeps a large file open, and sends a huge file for longer than the deployment takes.
fn releases() -> (Folder, PathBuf) {
    let folder = Folder::new();
    for release in ["41", "42"] {
        let path = folder.path().join(release);
        fs::create_dir(&path).expect("a release");
        fs::write(path.join("small"), release).expect("a file in it");
        fs::write(path.join("large"), release.repeat(100 * KIB)).expect("a file in it");
        sparse::create(&path.join("huge"), GIB / 4);
    }
    let current = folder.path().join("current");
    (folder, current)
}

/// The download pauses while the root is replaced, and that may take a while.
fn flags(root: &Path) -> String {
    format!("--workers 2 --header-timeout 60s --root {}", root.display())
}

/// The same path, relative to the working directory of the tests and their servers.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().expect("a working directory");
    let up = here.components().skip(1).map(|_| "..");
    up.collect::<PathBuf>()
        .join(path.strip_prefix("/").expect("absolute"))
}

/// While the root changes from release 41 to release 42, all requests succeed. Each answer is of
/// one of the two releases. After an answer of 42, no client gets an answer of 41.
fn deployed(server: &Server, deploy: impl FnOnce()) {
    let mut download = server.send("/huge");
    let head = download.head().expect("a head");
    std::thread::scope(|scope| {
        let (ready, wait) = std::sync::mpsc::channel();
        let clients = [(); 4].map(|()| {
            let ready = ready.clone();
            scope.spawn(move || {
                let mut client = server.client();
                assert_eq!(client.get("/small").text(), "41");
                ready.send(()).expect("somebody waits for it");
                let start = std::time::Instant::now();
                let mut release = "41";
                while release == "41" {
                    assert!(start.elapsed() < PATIENCE, "the change is seen");
                    for name in ["/small", "/large"] {
                        let reply = client.get(name);
                        assert_eq!(reply.status, 200, "{reply:?}");
                        if reply.text().starts_with("42") {
                            release = "42";
                        }
                        let whole = release.repeat(if name == "/large" { 100 * KIB } else { 1 });
                        assert!(reply.text() == whole, "{name} is of {release}");
                    }
                }
            })
        });
        for _ in &clients {
            wait.recv_timeout(PATIENCE).expect("all clients are at it");
        }
        deploy();
    });
    let mut count = 0;
    let ended = download.body("GET", &head, |piece| count += piece.len() as u64);
    ended.expect("what was begun is sent to its end");
    assert_eq!(count, GIB / 4);
}
