//! The host's side of the contract, called by guests that no compiler would produce: paths reach
//! `files` unchanged, handles don't exist, and answers point anywhere.

use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::support::server::component;
use crate::support::wat::{LISTER, OPENER, Worker, worker, worker_with};
use crate::support::{Folder, Server};

/// The error codes of `files`, as [`OPENER`] reports them.
const NO_ENTRY: &str = "a";
const ACCESS: &str = "b";
const IS_DIRECTORY: &str = "c";
const NOT_DIRECTORY: &str = "d";
const NOT_SUPPORTED: &str = "e";
const INVALID_PATH: &str = "f";
const NAME_TOO_LONG: &str = "g";
const LOOP: &str = "h";
const TOO_MANY_OPEN: &str = "i";
const TOO_LARGE: &str = "j";

#[test]
fn open_says_why_not() {
    let folder = files_of_every_kind();
    let absolute = folder.root().join("file").display().to_string();
    let server = component(&worker(OPENER), folder, "--workers 1");
    let opens = |path: &str| {
        let reply = ask(&server, path);
        assert_eq!((reply.0, reply.1.as_str()), (200, "content"), "{path:?}");
    };
    let fails = |path: &str, code: &str| {
        let reply = ask(&server, path);
        assert_eq!((reply.0, reply.1.as_str()), (404, code), "{path:?}");
    };
    opens("file");
    opens("./file");
    opens(".//file");
    opens("dir/file");
    opens("dir//file");
    opens("dir/./file");
    opens("link-inside");
    opens("dir/link-up-and-down");
    opens("link-to-dir/file");
    opens("ü");
    opens("back\\slash");
    opens("new\nline");
    opens(&format!("{}file", "./".repeat(1000)));
    fails("missing", NO_ENTRY);
    fails("dir/missing", NO_ENTRY);
    fails("missing/file", NO_ENTRY);
    fails("link-to-nothing", NO_ENTRY);
    fails("..", ACCESS);
    fails("../outside/secret", ACCESS);
    fails("dir/../../outside/secret", ACCESS);
    fails("/", ACCESS);
    fails("/etc/passwd", ACCESS);
    fails(&absolute, ACCESS);
    fails("link-to-secret", ACCESS);
    fails("link-absolute-inside", ACCESS);
    fails("link-to-root", ACCESS);
    fails("link-to-outside/secret", ACCESS);
    fails("magic", ACCESS);
    fails("dir", IS_DIRECTORY);
    fails("dir/", IS_DIRECTORY);
    fails(".", IS_DIRECTORY);
    fails("file/", NOT_DIRECTORY);
    fails("file/below", NOT_DIRECTORY);
    fails("fifo", NOT_SUPPORTED);
    fails("socket", NOT_SUPPORTED);
    fails("", INVALID_PATH);
    fails("\0", INVALID_PATH);
    fails("file\0", INVALID_PATH);
    fails("file\0.png", INVALID_PATH);
    fails(&"x".repeat(256), NAME_TOO_LONG);
    fails(&"dir/".repeat(2000), NAME_TOO_LONG);
    fails("loop", LOOP);
    fails("loop/file", LOOP);
}

#[test]
fn devices_are_not_files() {
    let folder = Folder::new();
    let path = folder.root().join("zero");
    let zero = rustix::fs::makedev(1, 5);
    if mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR, zero).is_err() {
        return; // only the user root may make a device
    }
    let server = component(&worker(OPENER), folder, "--workers 1");
    // Some mounts refuse to open any device. This answer is good, too.
    let reply = ask(&server, "zero");
    assert!(
        reply == (404, NOT_SUPPORTED.to_owned()) || reply == (404, ACCESS.to_owned()),
        "{reply:?}"
    );
}

#[test]
fn open_refuses_one_too_many() {
    let leak = "
        (local.set $end (i32.const 10))
        (loop $next
          (call $open (local.get $body) (local.get $body-length) (i32.const 2048))
          (local.set $end (i32.sub (local.get $end) (i32.const 1)))
          (br_if $next (local.get $end)))";
    let text = worker(&(leak.to_owned() + OPENER));
    let server = component(
        &text,
        files_of_every_kind(),
        "--workers 1 --max-open-files 4",
    );
    assert_eq!(ask(&server, "file"), (404, TOO_MANY_OPEN.to_owned()));
    assert_eq!(ask(&server, "missing"), (404, TOO_MANY_OPEN.to_owned()));
    let server = component(
        &text,
        files_of_every_kind(),
        "--workers 1 --max-open-files 11",
    );
    assert_eq!(ask(&server, "file"), (200, "content".to_owned()));
}

#[test]
fn a_listing_has_what_can_be_served() {
    let server = component(&worker(LISTER), files_of_every_kind(), "--workers 1");
    let (status, names) = ask(&server, ".");
    assert_eq!(status, 200);
    let expected = [
        "back\\slash",
        "dir",
        "file",
        "link-inside",
        "link-to-dir",
        "new\nline",
        "ü",
    ];
    assert_eq!(
        names,
        expected.concat(),
        "sorted, without links that lead out and without devices"
    );
    assert_eq!(
        ask(&server, "dir"),
        (200, "filelink-up-and-down".to_owned())
    );
    assert_eq!(
        ask(&server, "link-to-dir/."),
        (200, "filelink-up-and-down".to_owned())
    );
    assert_eq!(ask(&server, "file"), (404, NOT_DIRECTORY.to_owned()));
    assert_eq!(ask(&server, "missing"), (404, NO_ENTRY.to_owned()));
    assert_eq!(ask(&server, ".."), (404, ACCESS.to_owned()));
    assert_eq!(ask(&server, "/"), (404, ACCESS.to_owned()));
    assert_eq!(ask(&server, "link-to-outside"), (404, ACCESS.to_owned()));
    assert_eq!(ask(&server, "\0"), (404, INVALID_PATH.to_owned()));
}

#[test]
fn a_listing_has_an_end() {
    let folder = Folder::new().dir("many");
    for number in 0..10_001 {
        std::fs::File::create(folder.root().join(format!("many/{number}"))).expect("a file");
    }
    let server = component(&worker(LISTER), folder, "--workers 1");
    assert_eq!(ask(&server, "many"), (404, TOO_LARGE.to_owned()));
}

#[test]
fn reads_are_bounded_and_have_an_end() {
    // Opens the file that the body names, reads at an offset, and answers with the bytes that it
    // has read.
    let read_at = |offset: u64, count: u32| {
        format!(
            "(call $open (local.get $body) (local.get $body-length) (i32.const 2048))
             (call $read-at (i32.load (i32.const 2056)) (i64.const {offset}) (i32.const {count}) (i32.const 2048))
             (if (i32.load8_u (i32.const 2048)) (then unreachable))
             (i32.store (i32.const 1048) (i32.load (i32.const 2052)))
             (i32.store (i32.const 1052) (i32.load (i32.const 2056)))"
        )
    };
    for (offset, count, expected) in [
        (0, 7, "content"),
        (0, u32::MAX, "content"),
        (3, 2, "te"),
        (7, 10, ""),
        (8, 10, ""),
        (u64::from(u32::MAX), 10, ""),
        (i64::MAX as u64, 10, ""),
        (0, 0, ""),
    ] {
        let server = component(
            &worker(&read_at(offset, count)),
            files_of_every_kind(),
            "--workers 1",
        );
        assert_eq!(
            ask(&server, "file"),
            (200, expected.to_owned()),
            "{count} from {offset}"
        );
    }
    let folder = Folder::new().file("big", "x".repeat(3 << 20));
    let server = component(&worker(&read_at(0, u32::MAX)), folder, "--workers 1");
    assert_eq!(
        ask(&server, "big").1.len(),
        1 << 20,
        "one read gives 1 MiB at most"
    );
    let folder = Folder::new().file("big", "x".repeat(3 << 20));
    // The offset is 2^64 - 1. WAT accepts it as an `i64`.
    let server = component(&worker(&read_at(u64::MAX, 1)), folder, "--workers 1");
    assert_eq!(ask(&server, "big").1, "");
}

#[test]
fn a_slice_must_be_in_its_file() {
    for (offset, length, status) in [
        (0, 7, 200),
        (7, 0, 200),
        (2, 3, 200),
        (0, 8, 502),
        (8, 0, 502),
        (7, 1, 502),
        (0, u64::MAX, 502),
        (u64::MAX, 1, 502),
        (u64::MAX, u64::MAX, 502),
        (1 << 63, 0, 502),
    ] {
        let slice = format!(
            "{OPENER}
             (i64.store (i32.const 1056) (i64.const {offset}))
             (i64.store (i32.const 1064) (i64.const {length}))"
        );
        let server = component(&worker(&slice), files_of_every_kind(), "--workers 1");
        let reply = ask(&server, "file");
        assert_eq!(reply.0, status, "{length} from {offset}: {reply:?}");
        if status == 200 {
            let (from, to) = (offset as usize, (offset + length) as usize);
            assert_eq!(reply.1, "content"[from..to], "{length} from {offset}");
        }
    }
}

#[test]
fn what_handle_returns_is_not_trusted() {
    let text = "(data (memory $shared) (i32.const 3000) \"\\ff\\fe\")";
    for (what, handle) in [
        ("a status that is none", "(i32.store16 (i32.const 1024) (i32.const 0))"),
        ("an informational status", "(i32.store16 (i32.const 1024) (i32.const 101))"),
        ("a status out of range", "(i32.store16 (i32.const 1024) (i32.const 65535))"),
        ("a body that is neither", "(i32.store8 (i32.const 1040) (i32.const 2))"),
        ("a handle that is none", "(i32.store8 (i32.const 1040) (i32.const 1)) (i32.store (i32.const 1048) (i32.const 77))"),
        ("handle zero", "(i32.store8 (i32.const 1040) (i32.const 1))"),
        ("a body outside of memory", "(i32.store (i32.const 1048) (i32.const 131071)) (i32.store (i32.const 1052) (i32.const 2))"),
        ("a body around the end", "(i32.store (i32.const 1048) (i32.const -1)) (i32.store (i32.const 1052) (i32.const -1))"),
        ("more headers than memory", "(i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const -1))"),
        ("headers that lie crooked", "(i32.store (i32.const 1028) (i32.const 2049)) (i32.store (i32.const 1032) (i32.const 1))"),
        (
            "a header name that is not text",
            "(i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const 1))
             (i32.store (i32.const 2048) (i32.const 3000)) (i32.store (i32.const 2052) (i32.const 2))",
        ),
        (
            "a header without a name",
            "(i32.store (i32.const 1028) (i32.const 2048)) (i32.store (i32.const 1032) (i32.const 1))
             (i64.store (i32.const 2048) (i64.const 0)) (i64.store (i32.const 2056) (i64.const 0))",
        ),
        ("a result outside of memory", "(return (i32.const 131064))"),
        ("a result that lies crooked", "(return (i32.const 1025))"),
        ("a path that is not text", "(call $open (i32.const 3000) (i32.const 2) (i32.const 2048))"),
        ("a path outside of memory", "(call $open (i32.const -1) (i32.const 2) (i32.const 2048))"),
        ("a place outside of memory", "(call $open (i32.const 3000) (i32.const 0) (i32.const -8))"),
        ("a stranger's file", "(call $stat (i32.const 1) (i32.const 2048))"),
    ] {
        let server = component(&worker_with(text, handle), Folder::new(), "--workers 1");
        let reply = server.get("/");
        assert_eq!(reply.status, 502, "{what}: {reply:?}");
        let request = server.wait_request(reply.request_id());
        assert!(["trap", "response"].contains(&request["exit"].as_str().unwrap_or("")), "{what}: {request}");
        let pid = request["pid"].as_u64().expect("a pid");
        server.wait_end(pid);
        assert!(!server.wait_living(1).contains(&pid), "{what}: it is replaced");
    }
}

#[test]
fn wasi_has_no_files_no_environment_and_no_arguments() {
    // The status is 200 plus the number of entries.
    let imports = r#"
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))
  ))
  (import "wasi:filesystem/types@0.2.0" (instance $filesystem (export "descriptor" (type (sub resource)))))
  (alias export $filesystem "descriptor" (type $the-descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (export "descriptor" (type $descriptor (eq $the-descriptor)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))
  ))
"#;
    let lowered = r#"
  (alias export $environment "get-environment" (func $variables))
  (alias export $environment "get-arguments" (func $arguments))
  (alias export $preopens "get-directories" (func $folders))
  (core func $lowered-variables (canon lower (func $variables) (memory $memory) (realloc $realloc)))
  (core func $lowered-arguments (canon lower (func $arguments) (memory $memory) (realloc $realloc)))
  (core func $lowered-folders (canon lower (func $folders) (memory $memory) (realloc $realloc)))
  (core instance $extra
    (export "variables" (func $lowered-variables))
    (export "arguments" (func $lowered-arguments))
    (export "folders" (func $lowered-folders)))
"#;
    for what in ["variables", "arguments", "folders"] {
        let fields = format!("(import \"extra\" \"{what}\" (func $list (param i32)))");
        let handle = "
        (call $list (i32.const 2048))
        (i32.store16 (i32.const 1024) (i32.add (i32.const 200) (i32.load (i32.const 2052))))";
        let text = Worker {
            imports,
            lowered,
            fields: &fields,
            handle,
        }
        .text();
        let server = component(&text, files_of_every_kind(), "--workers 1");
        assert_eq!(server.get("/").status, 200, "{what}");
    }
}

/// The status and body for a path that goes to the guest in the request's body.
fn ask(server: &Server, path: &str) -> (u16, String) {
    let reply = server.request(
        "POST",
        "/",
        &[("content-length", "0")][path.len().min(1)..],
        path.as_bytes(),
    );
    (reply.status, reply.text())
}

/// One entry of each kind, and links of every sort.
fn files_of_every_kind() -> Folder {
    let folder = Folder::new()
        .file("file", "content")
        .file("ü", "content")
        .file("back\\slash", "content")
        .file("new\nline", "content")
        .file("dir/file", "content")
        .link("dir/link-up-and-down", "../dir/file")
        .link("link-inside", "dir/file")
        .link("link-to-dir", "dir")
        .link("link-to-nothing", "nothing")
        .link("link-to-secret", "../outside/secret")
        .link("link-to-outside", "../outside")
        .link("link-to-root", "/")
        .link("magic", "/proc/self/root/etc/passwd")
        .link("loop", "loop");
    std::fs::write(folder.outside().join("secret"), "secret").expect("a secret");
    let absolute = folder.root().join("file");
    let folder = folder.link("link-absolute-inside", absolute);
    let fifo = folder.root().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    UnixListener::bind(folder.root().join("socket")).expect("a socket");
    folder
}
