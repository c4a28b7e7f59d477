//! The host gives away no byte from outside of the root, whatever the request, and whatever happens
//! to the disk meanwhile.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::server::{component, serve};
use crate::support::wat::{OPENER, worker};
use crate::support::{Folder, Server, eventually};

/// The content of every file outside of the root, and of no other file.
const SECRET: &str = "not for anybody outside of this machine";

/// Request targets of attackers. `OUT` stands for the path of the folder outside.
const TARGETS: &[&str] = &[
    "/../outside/secret",
    "/../../outside/secret",
    "/../../../../../../../../../../OUT/secret",
    "/..",
    "/../",
    "/./../outside/secret",
    "/dir/../../outside/secret",
    "/dir/../../../outside/secret",
    "/dir/..//../outside/secret",
    "//../outside/secret",
    "///../outside/secret",
    "/%2e%2e/outside/secret",
    "/%2E%2E/outside/secret",
    "/.%2e/outside/secret",
    "/%2e./outside/secret",
    "/%2e%2e%2foutside%2fsecret",
    "/..%2foutside%2fsecret",
    "/..%2Foutside%2Fsecret",
    "/..%5coutside%5csecret",
    "/..\\outside\\secret",
    "/%252e%252e/outside/secret",
    "/%25252e%25252e/outside/secret",
    "/%c0%ae%c0%ae/outside/secret",
    "/%c0%ae%c0%ae%c0%afoutside%c0%afsecret",
    "/%e0%80%ae%e0%80%ae/outside/secret",
    "/%uff0e%uff0e/outside/secret",
    "/..%c0%afoutside%c0%afsecret",
    "/..%00/outside/secret",
    "/dir/..%00/outside/secret",
    "/file%00/../../outside/secret",
    "/file%00",
    "/%00/../outside/secret",
    "/..;/outside/secret",
    "/..;x=1/outside/secret",
    "/dir/..;/../outside/secret",
    "/....//outside/secret",
    "/.../outside/secret",
    "/. ./outside/secret",
    "/%20../outside/secret",
    "/..%20/outside/secret",
    "/..%09/outside/secret",
    "/..%0d%0a/outside/secret",
    "/..?/outside/secret",
    "/..%23/outside/secret",
    "OUT/secret",
    "/OUT/secret",
    "//OUT/secret",
    "/%2FOUT/secret",
    "/dir/OUT/secret",
    "/file:OUT/secret",
    "file://OUT/secret",
    "http://localhost/../outside/secret",
    "http://localhost/%2e%2e/outside/secret",
    "http://other/../outside/secret",
    "../outside/secret",
    "..",
    "secret",
    "*",
    "/~/secret",
    "/~root/secret",
    "/relative",
    "/relative/",
    "/absolute",
    "/folder-out/secret",
    "/folder-out/",
    "/folder-out",
    "/folder-out/../outside/secret",
    "/chain-1",
    "/up/outside/secret",
    "/top/OUT/secret",
    "/dir/up-twice/outside/secret",
    "/cwd/secret",
    "/cwd/../outside/secret",
    "/magic/OUT/secret",
    "/magic-fd/3/secret",
    "/proc/self/root/OUT/secret",
    "/self-exe",
    "/environment",
    "/tcp",
    "/folder-out/secret.gz",
    "/index-out/",
    "/packed.css",
];

#[test]
fn hostile_targets_at_the_default_worker() {
    let folder = traps();
    let out = folder.outside().display().to_string();
    let server = serve(folder, "--workers 2");
    assert!(TARGETS.len() >= 40);
    for target in TARGETS {
        let target = target.replace("OUT", &out);
        for head in [
            "host: x\r\n",
            "host: x\r\naccept-encoding: br, gzip\r\n",
            "host: x\r\nrange: bytes=0-\r\n",
        ] {
            // A server may refuse by closing. The bytes before the end are checked.
            let mut client = server.client();
            let _ = client.send(
                format!("GET {target} HTTP/1.1\r\n{head}connection: close\r\n\r\n").as_bytes(),
            );
            check(&target, &client.rest().expect("an answer or an end"));
        }
    }
    alive(&server);
}

#[test]
fn hostile_paths_at_the_stub() {
    let folder = traps();
    let out = folder.outside().display().to_string();
    let server = component(&worker(OPENER), folder, "--workers 2");
    for target in TARGETS {
        let target = target.replace("OUT", &out);
        for path in [
            target.as_str(),
            target.trim_start_matches('/'),
            &target.replace("%2e", ".").replace("%2f", "/"),
        ] {
            if !path.is_empty() {
                let reply = server.request("POST", "/", &[], path.as_bytes());
                check(path, &reply.body);
            }
        }
    }
    let reply = server.request("POST", "/", &[], b"file");
    assert_eq!(reply.text(), "public");
}

#[test]
fn a_file_and_a_link_out_change_places() {
    let folder = Folder::new()
        .file("file", "public")
        .link("door", "../outside/secret");
    swapping(
        folder,
        "door",
        "file",
        &["/door", "/file"],
        &["door", "file"],
    );
}

#[test]
fn a_folder_and_a_link_out_change_places() {
    let folder = Folder::new()
        .file("dir/secret", "public")
        .link("door", "../outside");
    swapping(
        folder,
        "door",
        "dir",
        &["/door/secret", "/dir/secret"],
        &["door/secret", "dir/./secret"],
    );
}

#[test]
fn a_folder_and_an_absolute_link_change_places() {
    let folder = Folder::new().file("a/dir/secret", "public");
    let outside = folder.outside();
    let folder = folder.link("a/door", outside);
    swapping(
        folder,
        "a/door",
        "a/dir",
        &["/a/door/secret", "/a/dir/secret"],
        &["a/door/secret", "a/dir/secret"],
    );
}

#[test]
fn a_folder_moves_out_while_a_link_climbs_from_it() {
    // `climb` leads to `deep/down/../../secret`. Inside of the root, that is the `secret` at its
    // top. While `down` lies outside, the same steps lead to the real secret.
    let folder = Folder::new()
        .file("secret", "public")
        .file("deep/down/file", "public")
        .link("climb", "deep/down/../../secret");
    std::fs::create_dir(folder.outside().join("nest")).expect("a folder outside");
    let away = "../outside/nest/down";
    let targets = ["/climb", "/deep/down/file"];
    swapping(
        folder,
        "deep/down",
        away,
        &targets,
        &["climb", "deep/down/../../secret"],
    );
}

/// Renames `one` to `other` and back as fast as possible, both relative to the root. Meanwhile
/// clients send targets to the default worker, and paths to the stub.
fn swapping(folder: Folder, one: &str, other: &str, targets: &[&str], paths: &[&str]) {
    /// Enough swaps for every moment of a request.
    const SWAPS: usize = 2_000;
    const REQUESTS: usize = 600;
    write_secret(&folder.outside().join("secret"));
    let root = folder.root();
    let server = serve(folder, "--workers 2");
    // The second server has the same root. It doesn't use its own folder.
    let flags = format!("--workers 2 --root {}", root.display());
    let stub = component_over(&flags);
    let (swaps, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let (one, other) = (root.join(one), root.join(other));
            let in_place = one.exists() || one.is_symlink();
            assert!(in_place, "there is something to move");
            while !done.load(Ordering::Relaxed) {
                swap(&one, &other);
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        let finished = Finished(&done);
        let (mut client, mut stub_client) = (server.client(), stub.client());
        let mut requests = 0;
        while requests < REQUESTS || swaps.load(Ordering::Relaxed) < SWAPS {
            assert!(!swapper.is_finished(), "swaps go on");
            let reply = client.get(targets[requests % targets.len()]);
            assert!(reply.status != 200 || reply.text() == "public", "{reply:?}");
            check(targets[requests % targets.len()], &reply.body);
            let path = paths[requests % paths.len()];
            let reply = stub_client.request("POST", "/", &[], path.as_bytes());
            assert!(reply.status != 200 || reply.text() == "public", "{reply:?}");
            check(path, &reply.body);
            requests += 1;
        }
        drop(finished);
    });
}

/// Exchanges two names. If only one of them exists, renames it to the other.
fn swap(one: &Path, other: &Path) {
    if renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_err() {
        let (from, to) = if one.symlink_metadata().is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        std::fs::rename(from, to).expect("one of the two is there");
    }
}

/// Stops the swapping even if the test fails. Otherwise it would never end.
struct Finished<'a>(&'a AtomicBool);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn component_over(flags: &str) -> Server {
    component(&worker(OPENER), Folder::new(), flags)
}

fn check(what: &str, answer: &[u8]) {
    let text = String::from_utf8_lossy(answer);
    assert!(
        !text.contains(SECRET),
        "{what} gave the secret away: {text}"
    );
    assert!(
        !text.contains("root:x:0:0"),
        "{what} gave the machine's users away: {text}"
    );
    assert!(!text.contains("PATH="), "{what} gave the environment away");
    assert!(
        !answer.windows(4).any(|bytes| bytes == b"\x7fELF"),
        "{what} gave the program away"
    );
}

fn alive(server: &Server) {
    eventually("the server answers", || {
        (server.get("/file").text() == "public").then_some(())
    });
}

/// A root full of links that lead out, and the secret at their targets.
fn traps() -> Folder {
    let folder = Folder::new()
        .file("file", "public")
        .file("dir/file", "public")
        .link("relative", "../outside/secret")
        .link("folder-out", "../outside")
        .link("chain-1", "chain-2")
        .link("chain-2", "dir/chain-3")
        .link("dir/chain-3", "../../outside/secret")
        .link("up", "..")
        .link("top", "/")
        .link("dir/up-twice", "../..")
        .link("cwd", "/proc/self/cwd")
        .link("magic", "/proc/self/root")
        .link("magic-fd", "/proc/self/fd")
        .link("self-exe", "/proc/self/exe")
        .link("environment", "/proc/self/environ")
        .link("tcp", "/dev/tcp")
        .dir("index-out")
        .link("index-out/index.html", "../../outside/secret")
        .file("packed.css", "public")
        .link("packed.css.gz", "../outside/secret")
        .link("packed.css.br", "../outside/secret");
    write_secret(&folder.outside().join("secret"));
    write_secret(&folder.outside().join("secret.gz"));
    write_secret(&folder.outside().join("index.html"));
    let absolute = folder.outside().join("secret");
    folder.link("absolute", absolute)
}

fn write_secret(path: &Path) {
    std::fs::write(path, format!("{SECRET}\n")).expect("a secret");
}
