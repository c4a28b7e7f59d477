//! What a confined thread may do with files, while somebody replaces them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Barrier;

use super::super::Needs;
use super::child::{confined, told};

pub(super) fn try_all(folder: &Path) {
    let at = |name: &str| folder.join(name);
    for name in [
        "site",
        "next-site",
        "mods",
        "releases/1",
        "releases/2",
        "logs",
        "../beside",
    ] {
        fs::create_dir_all(at(name)).expect("our own");
        fs::write(at(name).join("file"), "text").expect("our own");
    }
    symlink("../../beside/file", at("site/link")).expect("our own");
    symlink("releases/1", at("current")).expect("our own");
    let needs = Needs {
        to_read: vec![at("site"), at("mods/file"), at("current")],
        to_write: vec![at("cache")],
        log: Some(at("logs/file")),
        ..Needs::default()
    };
    let root = File::open(at("site")).expect("our own");
    // A thread that is not confined does what an administrator does, while this one waits.
    let turn = Barrier::new(2);
    let parent = std::os::unix::process::parent_id();
    let administer = || {
        turn.wait();
        fs::write(at("mods/new"), "text").expect("our own");
        symlink("releases/2", at("new")).expect("our own");
        for (from, to) in [
            ("mods/new", "mods/file"),
            ("site", "old-site"),
            ("next-site", "site"),
            ("new", "current"),
            ("logs/file", "logs/file.1"),
        ] {
            fs::rename(at(from), at(to)).expect("our own");
        }
        turn.wait();
    };
    let attempt = || {
        let append = || {
            File::options()
                .append(true)
                .create(true)
                .open(at("logs/file"))
        };
        let site = at("site");
        told("read in the root", fs::read(site.join("file")));
        told("list the root", fs::read_dir(&site));
        let descriptor = format!("/proc/self/fd/{}/file", root.as_raw_fd());
        told(
            "read in the root by a descriptor's name",
            fs::read(descriptor),
        );
        told(
            "write in the root",
            File::options().write(true).open(site.join("file")),
        );
        told("create in the root", fs::write(site.join("new"), ""));
        told("remove from the root", fs::remove_file(site.join("file")));
        // Linux truncates a file that is opened for reading, if it is asked to.
        let flags = rustix::fs::OFlags::TRUNC;
        let opened = rustix::fs::open(site.join("file"), flags, rustix::fs::Mode::empty());
        told("truncate in the root", opened.map_err(io::Error::from));
        told("read by a link that leads out", fs::read(site.join("link")));
        turn.wait();
        turn.wait();
        told(
            "read a file that was renamed over the module",
            fs::read(at("mods/file")),
        );
        told(
            "read in a folder that took the root's place",
            fs::read(site.join("file")),
        );
        told("read in the next release", fs::read(at("current/file")));
        told(
            "append to the log after its rename",
            append().and_then(|mut log| log.write_all(b".")),
        );
        let (one, two) = (at("cache/one"), at("cache/two"));
        let kept = fs::write(&one, "text").and_then(|()| fs::rename(&one, &two));
        let read = kept.and_then(|()| fs::read(&two));
        told(
            "create, rename, remove in the cache",
            read.and_then(|_| fs::remove_file(&two)),
        );
        told("make a folder in the cache", fs::create_dir(&one));
        told("make a link in the cache", symlink("two", &one));
        let mode = fs::Permissions::from_mode(0o777);
        told(
            "change a mode in the cache",
            fs::set_permissions(at("cache"), mode),
        );
        told("read beside everything", fs::read(at("../beside/file")));
        told("list the folder beside", fs::read_dir(at("../beside")));
        told(
            "read another process's environment",
            fs::read(format!("/proc/{parent}/environ")),
        );
        told("read its own status", fs::read("/proc/self/status"));
        told("read /etc/passwd", fs::read("/etc/passwd"));
        told("count the CPUs", std::thread::available_parallelism());
        told("start a thread", std::thread::Builder::new().spawn(|| ()));
    };
    std::thread::scope(|scope| {
        scope.spawn(administer);
        confined(&needs, attempt);
    });
}
