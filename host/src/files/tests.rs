//! Rules for every resolver, and how soon changes of files are seen.

use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::Mode;

use super::folder::Resolver;
use super::open::SMALL;
use super::*;

/// A root folder with one entry of each sort, and a secret file beside it.
fn folder() -> (tempfile::TempDir, [RootFolder; 3]) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("folder")).expect("a folder");
    std::fs::write(dir.path().join("secret"), "secret").expect("a file");
    std::fs::write(root.join("file"), "content").expect("a file");
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), Mode::RUSR).expect("a FIFO");
    let links = [
        ("inside", "file"),
        ("outside", "../secret"),
        ("absolute", "/etc/passwd"),
        ("self", "self"),
        ("magic", "/proc/self/root/etc/passwd"),
    ];
    for (name, target) in links {
        symlink(target, root.join(name)).expect("a link");
    }
    (dir, RESOLVERS.map(|resolver| resolved_by(&root, resolver)))
}

const RESOLVERS: [Resolver; 3] = [
    Resolver::Kernel { can_decline: true },
    Resolver::Kernel { can_decline: false },
    Resolver::Library,
];

fn resolved_by(root: &Path, resolver: Resolver) -> RootFolder {
    let mut folder = Folder::open(root).expect("the root");
    folder.resolver = resolver;
    RootFolder {
        path: root.into(),
        recent: Arc::new(Recent::new(folder)),
    }
}

/// Checks repeatedly, for longer than any test here takes.
async fn eventually(is_so: impl AsyncFn() -> bool) {
    const LOOK_AGAIN: Duration = Duration::from_millis(10);
    const TIME_LIMIT: Duration = Duration::from_secs(60);
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < TIME_LIMIT, "it never was");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[tokio::test]
async fn every_resolver_keeps_paths_beneath_the_root() {
    let (_dir, roots) = folder();
    let cases = [
        ("file", Ok(())),
        ("inside", Ok(())),
        ("./file", Ok(())),
        (".//./file", Ok(())),
        ("file/", Err(FileError::NotDirectory)),
        ("file/.", Err(FileError::NotDirectory)),
        ("folder/", Err(FileError::IsDirectory)),
        ("folder/.", Err(FileError::IsDirectory)),
        ("none", Err(FileError::NoEntry)),
        ("folder", Err(FileError::IsDirectory)),
        ("file/below", Err(FileError::NotDirectory)),
        ("fifo", Err(FileError::NotSupported)),
        ("", Err(FileError::InvalidPath)),
        ("fi\0le", Err(FileError::InvalidPath)),
        ("/etc/passwd", Err(FileError::Access)),
        ("../secret", Err(FileError::Access)),
        ("folder/../file", Err(FileError::Access)),
        ("outside", Err(FileError::Access)),
        ("absolute", Err(FileError::Access)),
        ("magic", Err(FileError::Access)),
        ("self", Err(FileError::Loop)),
    ];
    for (root, resolver) in roots.iter().zip(RESOLVERS) {
        for (path, expected) in cases {
            let opened = root.open_file(path).await.map(drop);
            assert_eq!(opened, expected, "opening {path:?} with {resolver:?}");
            let known = root.stat(path).await.map(drop);
            let expected = match path {
                "folder" | "folder/" | "folder/." => Ok(()),
                _ => expected,
            };
            assert_eq!(known, expected, "stat of {path:?} with {resolver:?}");
        }
    }
}

#[tokio::test]
async fn every_resolver_lists_what_can_be_served() {
    let (_dir, roots) = folder();
    let listed = |name: &str, kind| Entry {
        name: name.into(),
        kind,
    };
    let expected = [
        listed("file", EntryKind::RegularFile),
        listed("folder", EntryKind::Directory),
        listed("inside", EntryKind::RegularFile),
    ];
    for root in &roots {
        assert_eq!(
            root.read_dir(".").await.expect("the root's names"),
            expected
        );
        assert_eq!(
            root.read_dir("file").await.map(drop),
            Err(FileError::NotDirectory)
        );
        assert_eq!(
            root.read_dir("outside").await.map(drop),
            Err(FileError::Access)
        );
    }
}

#[tokio::test]
async fn reading_moves_the_position_and_reading_at_does_not() {
    let (_dir, [root, ..]) = folder();
    let mut file = root.open_file("file").await.expect("the file").file;
    assert_eq!(file.read(3).await.expect("bytes"), "con");
    assert_eq!(file.read_at(1, 2).await.expect("bytes"), "on");
    assert_eq!(file.read(100).await.expect("bytes"), "tent");
    assert_eq!(file.read(1).await.expect("the end"), "");
    assert_eq!(file.read_at(u64::MAX, 1).await.expect("past any end"), "");
}

#[tokio::test]
async fn what_happens_to_a_file_is_seen() {
    // A change of a small file is seen within a moment, and as a whole. A change of a larger file
    // is seen at once.
    for padding in [0, SMALL] {
        let (dir, [root, ..]) = folder();
        let path = dir.path().join("root/file");
        let other = dir.path().join("other");
        let write = |path, text: &str| {
            std::fs::write(path, [text, &" ".repeat(padding)].concat()).expect("written");
        };
        let read = async || -> Result<String, FileError> {
            let mut file = root.open_file("file").await?.file;
            let bytes = file.read(2 * SMALL).await?;
            assert_eq!(file.stat()?.size, bytes.len() as u64);
            Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
        };
        let seen = async |expected: Result<String, FileError>| {
            if padding == 0 {
                eventually(async || read().await == expected).await;
            } else {
                assert_eq!(read().await, expected);
            }
        };
        write(&path, "as it was, for the first time");
        seen(Ok("as it was, for the first time".into())).await;
        write(&path, "changed in place");
        seen(Ok("changed in place".into())).await;
        write(&other, "replaced");
        std::fs::rename(&other, &path).expect("renamed");
        seen(Ok("replaced".into())).await;
        std::fs::rename(&path, &other).expect("renamed");
        // The old path may be valid for a moment.
        eventually(async || read().await == Err(FileError::NoEntry)).await;
        std::fs::rename(&other, &path).expect("renamed");
        seen(Ok("replaced".into())).await;
        std::fs::remove_file(&path).expect("removed");
        seen(Err(FileError::NoEntry)).await;
    }
}

#[tokio::test]
async fn an_open_file_that_is_small_stays_as_it_was() {
    let (dir, [root, ..]) = folder();
    let mut file = root.open_file("file").await.expect("the file").file;
    let before = file.stat();
    std::fs::write(dir.path().join("root/file"), "other, and longer").expect("written");
    assert_eq!(file.read(100).await.expect("bytes"), "content");
    assert_eq!(file.stat(), before);
}

#[tokio::test]
async fn all_ways_to_write_a_path_are_one_file() {
    let (_dir, roots) = folder();
    let copy = async |root: &RootFolder, path: &str| {
        let file = root.open_file(path).await.expect("the file").file;
        let Content::Copy { bytes, .. } = file.content else {
            panic!("small files are copied");
        };
        bytes
    };
    for root in &roots {
        for path in ["./file", ".//file", "././file"] {
            // Bytes of a file that was opened again are at another address. This also happens if
            // the thread is so late with the second path that the copy is no longer valid.
            eventually(async || {
                let kept = copy(root, "file").await;
                kept.as_ptr() == copy(root, path).await.as_ptr()
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_root_is_followed_by_every_resolver() {
    let (dir, roots) = folder();
    let root = dir.path().join("root");
    let read = async |root: &RootFolder| -> Result<Bytes, FileError> {
        root.open_file("file").await?.file.read(100).await
    };
    let all = async |expected: Result<Bytes, FileError>| {
        for root in &roots {
            eventually(async || read(root).await == expected).await;
        }
    };
    all(Ok("content".into())).await;
    std::fs::rename(&root, dir.path().join("away")).expect("renamed");
    std::fs::create_dir(&root).expect("another folder");
    all(Err(FileError::NoEntry)).await;
    std::fs::write(root.join("file"), "other").expect("written");
    all(Ok("other".into())).await;
    std::fs::remove_dir_all(&root).expect("removed");
    all(Err(FileError::NoEntry)).await;
    symlink("away", &root).expect("a link");
    all(Ok("content".into())).await;
}

#[tokio::test]
async fn an_open_file_says_how_much_memory_it_holds() {
    let (dir, [root, ..]) = folder();
    for (size, held) in [(0, 0), (1, 1), (SMALL, SMALL), (SMALL + 1, 0)] {
        let name = size.to_string();
        std::fs::write(dir.path().join("root").join(&name), vec![b' '; size]).expect("written");
        let file = root.open_file(&name).await.expect("the file").file;
        assert_eq!(file.held(), held, "a file of {size} B");
    }
}

#[tokio::test]
async fn files_are_not_kept_open_for_long() {
    let (dir, [root, ..]) = folder();
    std::fs::write(dir.path().join("root/file"), [b' '; SMALL + 1]).expect("written");
    let file = root.open_file("file").await.expect("the file").file;
    let Content::Live(fd) = &file.content else {
        panic!("it was copied");
    };
    let fd = Arc::downgrade(fd);
    drop(file);
    eventually(async || fd.upgrade().is_none()).await;
}
