//! Normalises paths that guests ask for, so that all spellings of a path are one file in the cache.

use std::borrow::Cow;

use super::FileError;

/// The kernel's limit, including the NUL at the end. Without it, a guest could pass megabytes.
const PATH_MAX: usize = 4096;

/// Removes redundant names from a path: `.`, and the empty names of repeated slashes. A slash or
/// `.` at the end asks for a folder, so it becomes one slash. A path that is already normal, as
/// nearly all are, isn't copied.
///
/// # Errors
/// If the path can be refused without looking at the disk. `..` is refused even where it would stay
/// beneath the root folder: a guest can ask for `b` instead of `a/../b`.
pub(super) fn normal(path: &str) -> Result<Cow<'_, str>, FileError> {
    if path.len() >= PATH_MAX {
        return Err(FileError::NameTooLong);
    }
    if path.is_empty() || path.contains('\0') {
        return Err(FileError::InvalidPath);
    }
    if path.starts_with('/') {
        return Err(FileError::Access);
    }
    let mut is_normal = true;
    for name in path.strip_suffix('/').unwrap_or(path).split('/') {
        if name == ".." {
            return Err(FileError::Access);
        }
        is_normal &= !says_nothing(name);
    }
    Ok(if is_normal {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(rewritten(path))
    })
}

fn rewritten(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    for name in path.split('/').filter(|name| !says_nothing(name)) {
        if !normal.is_empty() {
            normal.push('/');
        }
        normal.push_str(name);
    }
    let last = path.rsplit('/').next();
    if normal.is_empty() {
        normal.push('.');
    } else if last.is_some_and(says_nothing) {
        normal.push('/');
    }
    normal
}

fn says_nothing(name: &str) -> bool {
    matches!(name, "" | ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_path() {
        for (path, expected) in [
            ("a", "a"),
            ("./a", "a"),
            ("././/a", "a"),
            ("a//b", "a/b"),
            ("a/./b", "a/b"),
            ("a/", "a/"),
            ("a//", "a/"),
            ("a/.", "a/"),
            ("a/./", "a/"),
            ("./a/.b/c.", "a/.b/c."),
            (".", "."),
            ("./", "."),
            (".//.", "."),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path:?}");
        }
    }

    #[test]
    fn a_path_that_climbs_is_refused() {
        for path in ["/", "/a", "..", "../", "a/..", "a/../", "./..", "a//../b"] {
            assert_eq!(normal(path), Err(FileError::Access), "{path:?}");
        }
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in ["a", "a/b", "a/b/", "a/..b/.c", "..."] {
            assert!(matches!(normal(path), Ok(Cow::Borrowed(_))), "{path:?}");
        }
    }
}
