//! What guests find when they look around: arguments, variables, configuration, the root folder.

use std::process::Command;

use crate::support::Folder;
use crate::support::server::{PROGRAM, Server, guest, guest_over};

fn shows(server: &Server, target: &str, text: &str) {
    let reply = server.get(target);
    assert_eq!((reply.status, &*reply.text()), (200, text), "{target}");
}

#[test]
fn guests_find_nothing_by_default() {
    let server = guest("surroundings", "--workers 1");
    shows(&server, "/args", "");
    shows(&server, "/env", "");
    shows(&server, "/configs", "");
    shows(&server, "/config?key=a", "None");
    let reply = server.get("/read?path=/page").text();
    assert!(reply.starts_with("error: "), "{reply}");
}

#[test]
fn guests_find_what_they_are_given() {
    let folder = Folder::new().file("page", "its text");
    let file = folder.path().join("variables");
    std::fs::write(&file, "# a comment\n\nB=of the file\nC=a=b #c\n").expect("a file");
    let flags = format!(
        "--workers 1 --arg one --arg --two --env A=1 --env B=2 --env PATH --env A=3 --env-file {} \
         --config-value k=v --config-value k=w --config-value empty= --wasi-root",
        file.display()
    );
    let server = guest_over("surroundings", folder, &flags);
    shows(&server, "/args", "surroundings.wasm\none\n--two");
    let path = std::env::var("PATH").expect("a path");
    shows(&server, "/env", &format!("C=a=b #c\nB=2\nPATH={path}\nA=3"));
    shows(&server, "/config?key=k", "Some(\"w\")");
    shows(&server, "/config?key=empty", "Some(\"\")");
    shows(&server, "/config?key=other", "None");
    shows(&server, "/configs", "k=w\nempty=");
    shows(&server, "/read?path=/page", "its text");
}

#[test]
fn the_root_folder_is_read_only_and_nothing_leads_out() {
    let folder = Folder::new().file("page", "its text");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "secret").expect("a file");
    std::os::unix::fs::symlink(&secret, folder.root().join("link")).expect("a link");
    let server = guest_over("surroundings", folder, "--workers 1 --wasi-root");
    for target in [
        "/write?path=/new",
        "/write?path=/page",
        "/read?path=/../secret",
        "/read?path=/link",
    ] {
        let reply = server.get(target).text();
        assert!(reply.starts_with("error: "), "{target}: {reply}");
    }
    shows(&server, "/read?path=/page", "its text");
}

#[test]
fn sockets_are_denied() {
    let server = guest("surroundings", "--workers 1 --allow-outbound 127.0.0.1:1");
    for target in ["/tcp", "/udp"] {
        let reply = server.get(target).text();
        assert!(reply.starts_with("error: "), "{target}: {reply}");
    }
}

#[test]
fn what_a_guest_logs_is_in_the_log() {
    let server = guest("surroundings", "--workers 1");
    shows(&server, "/log?message=a%0Ab", "");
    let line = server.wait_entry("guest output", |entry| {
        entry["line"] == "critical here: a" && entry["stream"] == "stderr"
    });
    assert!(line["pid"].is_u64() && line["id"].is_u64(), "{line}");
    server.wait_entry("guest output", |entry| entry["line"] == "b");
}

#[test]
fn a_bad_file_of_variables_is_named_with_its_line() {
    let folder = Folder::new();
    let file = folder.path().join("variables");
    #[rustfmt::skip] // one line per case
    let cases: &[(&[u8], &str)] = &[
        (b"A=1\nB", ":2: give a name and a value"),
        (b"A=1\n\n=x", ":3: there is no name"),
        (b"export A=1", ":1: a name has no spaces"),
        (b"A=\0", ":1: a value has no NUL"),
        (b"A=\xff", ": it is not UTF-8"),
        (&[b'a'; (1 << 20) + 1], ": it is larger than 1 MiB"),
    ];
    for (content, problem) in cases {
        std::fs::write(&file, content).expect("a file");
        let output = Command::new(PROGRAM).arg("--env-file").arg(&file).output();
        let output = output.expect("the program runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let named = format!("--env-file {}{problem}", file.display());
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(&named), "{named}: {errors}");
    }
}

#[test]
fn reuse_is_for_one_kind_of_module() {
    let output = Command::new(PROGRAM)
        .args(["--listen", "0", "--reuse"])
        .output();
    let output = output.expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(
        errors.contains("--reuse: the module exports `handle`"),
        "{errors}"
    );
    assert!(
        errors.contains("`wasi:http/incoming-handler@0.2`"),
        "{errors}"
    );
}
