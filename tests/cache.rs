//! The compile cache: a module is compiled once, whatever is in the folder, and no folder is
//! trusted that others can write.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::guests;
use crate::support::server::PROGRAM;
use crate::support::untested;

/// The line of a module that is compiled, and of a folder that is not used.
const COMPILING: &str = "wasm-pool-host: compiling";
const NO_CACHE: &str = "no compile cache";

/// What is done to the folder before a start, and whether the start compiles.
type Case = (&'static str, fn(&Path), bool);

#[test]
fn a_module_is_compiled_once() {
    let folder = cache();
    let compiled = |text| said(&run(folder.path(), text), COMPILING);
    assert!(compiled("print a"), "the first start");
    assert!(!compiled("print b"), "the second");
    assert_eq!(code(folder.path()).len(), 1);
    // The same module elsewhere is the same module.
    let copy = folder.path().join("copy.wasm");
    fs::copy(guests::path("actor"), &copy).expect("a copy");
    let output = ran(command(&copy)
        .arg("--cache")
        .arg(folder.path())
        .args(["--", "print a"]));
    assert!(!said(&output, COMPILING), "{output:?}");
}

#[test]
fn a_file_that_is_not_whole_is_compiled_again_and_replaced() {
    let cases: [Case; 9] = [
        ("as it was", |_| {}, false),
        ("empty", |file| write(file, b""), true),
        ("garbage", |file| write(file, &[7; 9000]), true),
        ("cut", |file| write(file, &half(file)), true),
        (
            "a byte of code is another",
            |file| write(file, &flipped(file)),
            true,
        ),
        ("others may write it", |file| mode(file, 0o622), true),
        ("a link", |file| link(file), true),
        (
            "missing",
            |file| fs::remove_file(file).expect("it is there"),
            true,
        ),
        ("older", |file| age(file, 9000), false),
    ];
    let folder = cache();
    run(folder.path(), "print a");
    for (what, change, compiles) in cases {
        change(&code(folder.path())[0]);
        let output = run(folder.path(), "print a");
        assert_eq!(said(&output, COMPILING), compiles, "{what}: {output:?}");
        let output = run(folder.path(), "print a");
        assert!(!said(&output, COMPILING), "after {what}: {output:?}");
        assert!(!said(&output, NO_CACHE), "after {what}: {output:?}");
        assert_eq!(code(folder.path()).len(), 1, "after {what}");
    }
}

#[test]
fn a_folder_that_is_not_the_users_alone_is_not_used() {
    let cases: [Case; 5] = [
        ("others may write", |folder| mode(folder, 0o777), true),
        ("the group may write", |folder| mode(folder, 0o770), true),
        (
            "a file",
            |folder| {
                fs::remove_dir(folder).expect("it is empty");
                write(folder, b"");
            },
            true,
        ),
        (
            "a link",
            |folder| {
                let other = folder.with_file_name("other");
                fs::create_dir(&other).expect("a folder");
                fs::remove_dir(folder).expect("it is empty");
                symlink(other, folder).expect("a link");
            },
            true,
        ),
        (
            "another user's",
            |folder| {
                if chown(folder, Some(65534), None).is_err() {
                    untested("another user's folder, as only root can give it away");
                    mode(folder, 0o777);
                }
            },
            true,
        ),
    ];
    for (what, change, _) in cases {
        let around = cache();
        let folder = around.path().join("cache");
        fs::create_dir(&folder).expect("a folder");
        change(&folder);
        for _ in 0..2 {
            let output = run(&folder, "print a");
            assert!(said(&output, COMPILING), "{what}: {output:?}");
            assert_eq!(count(&output, NO_CACHE), 1, "{what}: {output:?}");
        }
    }
}

#[test]
fn a_folder_that_can_t_be_made_is_done_without() {
    let output = run(Path::new("/dev/null/cache"), "print a");
    assert!(said(&output, COMPILING), "{output:?}");
    assert_eq!(count(&output, NO_CACHE), 1, "{output:?}");
}

/// Variables, and the folder that they lead to.
type Found<'a> = (&'a [(&'a str, &'a Path)], Option<&'a Path>);

#[test]
fn the_folder_is_the_users_own_by_default() {
    let home = cache();
    let at_home = home.path().join(".cache/wasm-pool-host");
    let elsewhere = home.path().join("caches/wasm-pool-host");
    #[rustfmt::skip] // one line per case
    let cases: [Found<'_>; 5] = [
        (&[("HOME", home.path())], Some(&at_home)),
        (&[("HOME", home.path()), ("XDG_CACHE_HOME", &home.path().join("caches"))], Some(&elsewhere)),
        (&[("HOME", home.path()), ("XDG_CACHE_HOME", Path::new("relative"))], Some(&at_home)),
        (&[("HOME", Path::new(""))], None),
        (&[], None),
    ];
    for (variables, folder) in cases {
        let mut command = command(&guests::path("actor"));
        command.env_remove("HOME").env_remove("XDG_CACHE_HOME");
        let output = ran(command
            .envs(variables.iter().copied())
            .args(["--", "print a"]));
        assert!(!said(&output, NO_CACHE), "{variables:?}: {output:?}");
        let Some(folder) = folder else {
            assert!(said(&output, COMPILING), "{variables:?}: {output:?}");
            continue;
        };
        assert_eq!(code(folder).len(), 1, "{variables:?}");
        let mode = folder.metadata().expect("the folder").mode();
        assert_eq!(mode & 0o777, 0o700, "{variables:?}");
    }
    let mut uncached = command(&guests::path("actor"));
    let output = ran(uncached
        .args(["--no-cache", "--", "print a"])
        .env("HOME", home.path()));
    assert!(said(&output, COMPILING), "{output:?}");
}

#[test]
fn hosts_that_start_at_once_share_a_folder() {
    let folder = cache();
    let path = folder.path();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(!said(&run(path, "print a"), NO_CACHE)));
        }
    });
    assert_eq!(code(path).len(), 1);
    assert!(!said(&run(path, "print a"), COMPILING));
}

#[test]
fn the_oldest_files_leave_when_the_cache_is_full() {
    let folder = cache();
    let file = |name: &str, mebibytes: u64, seconds: u64| {
        let path = folder.path().join(name);
        let file = File::create(&path).expect("a file");
        file.set_len(mebibytes << 20).expect("a sparse file");
        age(&path, seconds);
        path
    };
    let oldest = file("oldest.cwasm", 400, 3000);
    let older = file("older.cwasm", 400, 2000);
    let newer = file("newer.cwasm", 400, 1000);
    let abandoned = file("left.part", 1, 9000);
    let foreign = file("notes.txt", 900, 9000);
    run(folder.path(), "print a");
    let left = [oldest, older, newer, abandoned, foreign].map(|path| path.exists());
    assert_eq!(left, [false, true, true, false, true]);
}

#[test]
fn the_built_in_worker_needs_no_cache() {
    let home = cache();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("XDG_CACHE_HOME", home.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut line = String::new();
    let output = child.stdout.take().expect("standard output is piped");
    BufReader::new(output).read_line(&mut line).expect("a line");
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(line.contains("built-in"), "{line}");
    assert_eq!(fs::read_dir(home.path()).expect("the folder").count(), 0);
}

fn cache() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Runs the actor with this cache.
fn run(folder: &Path, script: &str) -> Output {
    ran(command(&guests::path("actor"))
        .arg("--cache")
        .arg(folder)
        .args(["--", script]))
}

fn command(module: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(module).stdin(Stdio::null());
    command
}

fn ran(command: &mut Command) -> Output {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn said(output: &Output, text: &str) -> bool {
    count(output, text) > 0
}

/// The number of lines of standard error with this text.
fn count(output: &Output, text: &str) -> usize {
    let errors = String::from_utf8_lossy(&output.stderr);
    errors.lines().filter(|line| line.contains(text)).count()
}

/// The files with code in this folder.
fn code(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
        .collect()
}

/// Replaces the file, as hosts do: one that is mapped is never written.
fn write(file: &Path, content: &[u8]) {
    let _missing = fs::remove_file(file);
    fs::write(file, content).expect("a file");
}

fn half(file: &Path) -> Vec<u8> {
    let mut content = fs::read(file).expect("a file");
    content.truncate(content.len() / 2);
    content
}

fn flipped(file: &Path) -> Vec<u8> {
    let mut content = fs::read(file).expect("a file");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    content
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("our own");
}

fn link(file: &Path) {
    let other = file.with_file_name("other");
    fs::rename(file, &other).expect("a file");
    symlink(other, file).expect("a link");
}

fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().append(true).open(path).expect("a file");
    file.set_modified(then).expect("our own");
}
