//! *Places*: the folders that must stay readable so that the host can follow a name. A rule of
//! Landlock is for a file or a folder as it is now, and not for its name. What is renamed into
//! its place later is another file, and only a rule for a folder above it covers both.
//!
//! So a rule is for the folder that a file or a root is in. Where a symbolic link is on the way, as
//! in `current -> releases/42`, there is a rule for the folder that its target is in (`releases`),
//! if this is the link's own folder or is inside of it: the next release will be there too.
//!
//! No rule is for a folder that many share, such as `/etc` or a home: there is too much else in it.
//! A file in one of these has a rule for itself only. It can be read and written in place, and what
//! is renamed over it can't be read until the host is started again.

use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

/// The folders of the system that many programs share. `/srv` is not one of them: it is for what a
/// server serves.
const SHARED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/etc/ssl",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/user",
    "/sbin",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/run",
    "/var/tmp",
];

/// The most links on the way of one name: as many as the kernel follows.
const MAX_LINKS: usize = 40;

/// What to open for a name, and for what takes its place later.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The file or folder that has the name now. `None` if there is none.
    pub(super) now: Option<PathBuf>,
    /// The folders in which its successors will be.
    pub(super) later: Vec<PathBuf>,
}

/// A step on the way of a name.
enum Step {
    Root,
    Up,
    Into(PathBuf),
    /// A link's target ends here. The link is in this folder.
    Followed(PathBuf),
}

/// Follows a name through all links.
pub(super) fn places(name: &Path) -> Places {
    let mut places = Places::default();
    let Ok(name) = std::path::absolute(name) else {
        return places; // it is empty
    };
    let mut way: VecDeque<Step> = steps(&name).collect();
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(step) = way.pop_front() {
        match step {
            Step::Root => here = "/".into(),
            Step::Up => {
                here.pop();
            }
            Step::Followed(from) => {
                let folder = here.parent().filter(|folder| folder.starts_with(&from));
                places.later.extend(folder.map(Path::to_owned));
            }
            Step::Into(name) => {
                let next = here.join(name);
                match next.read_link() {
                    Ok(_) if links == MAX_LINKS => return Places::default(),
                    Ok(target) => {
                        links += 1;
                        way.push_front(Step::Followed(here.clone()));
                        for step in steps(&target).rev() {
                            way.push_front(step);
                        }
                    }
                    // It exists, and is no link.
                    Err(error) if error.kind() == ErrorKind::InvalidInput => here = next,
                    Err(_) => return Places::default(),
                }
            }
        }
    }
    places.later.extend(here.parent().map(Path::to_owned));
    places.later.retain(|folder| !is_shared(folder));
    places.later.sort();
    places.later.dedup();
    places.now = Some(here);
    places
}

/// Whether the host may read a file that takes the place of the one with this name.
pub(crate) fn has_successors(name: &Path) -> bool {
    !places(name).later.is_empty()
}

/// The folder that this name is in, whether or not others share it.
pub(super) fn folder_of(name: &Path) -> Option<PathBuf> {
    let name = std::path::absolute(name).ok()?;
    name.parent()?.canonicalize().ok()
}

/// Creates the folders that are missing, for the user alone. If one can't be created, the host says
/// so when it needs it.
pub(super) fn create(folders: &[PathBuf]) {
    for folder in folders {
        let _missing = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = Step> {
    let steps = path.components().map(|component| match component {
        Component::RootDir | Component::Prefix(_) => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::CurDir => None,
        Component::Normal(name) => Some(Step::Into(name.into())),
    });
    steps.flatten()
}

fn is_shared(folder: &Path) -> bool {
    let is_home = folder.parent() == Some(Path::new("/home"));
    is_home
        || SHARED.iter().any(|shared| folder == Path::new(shared))
        || std::env::home_dir().is_some_and(|home| folder == home)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn a_name_is_followed_to_where_its_successors_will_be() {
        let folder = Folder::new("places");
        let at = |name: &str| folder.0.join(name);
        for release in [
            "app/releases/1",
            "app/releases/2",
            "data/1",
            "secrets/..2024",
        ] {
            fs::create_dir_all(at(release)).expect("a folder");
            fs::write(at(release).join("file"), "").expect("a file");
        }
        symlink("releases/1", at("app/current")).expect("a link");
        symlink(at("data/1"), at("app/data")).expect("a link");
        symlink("..2024", at("secrets/..data")).expect("a link");
        symlink("..data/file", at("secrets/file")).expect("a link");
        symlink("loop", at("loop")).expect("a link");
        #[rustfmt::skip] // a line per case
        let cases: &[(&str, &str, &[&str])] = &[
            ("app/releases/1", "app/releases/1", &["app/releases"]),
            ("app/current", "app/releases/1", &["app/releases"]),
            ("app/current/file", "app/releases/1/file", &["app/releases", "app/releases/1"]),
            ("app/../app/./current/", "app/releases/1", &["app/releases"]),
            // The link leads out of its folder: the next one could lead anywhere.
            ("app/data/file", "data/1/file", &["data/1"]),
            ("secrets/file", "secrets/..2024/file", &["secrets", "secrets/..2024"]),
        ];
        for (name, now, later) in cases {
            let later = later.iter().map(|folder| at(folder)).collect();
            let now = Some(at(now));
            assert_eq!(places(&at(name)), Places { now, later }, "{name}");
        }
        for name in ["loop", "nothing", "app/nothing/file"] {
            assert_eq!(places(&at(name)), Places::default(), "{name}");
        }
        for name in ["/etc/passwd", "/tmp", "/dev/null"] {
            assert_eq!(
                places(Path::new(name)).later,
                Vec::<PathBuf>::new(),
                "{name}"
            );
        }
    }
}
