//! From the path in a URL to the path of a file: decoded, without hidden names, never out of the
//! root.
//!
//! The host refuses every way out of the root by itself. This file decides which names inside the
//! root are for everyone.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::refusal::Refusal;

/// What is served where a URL names a folder.
const INDEX: &str = "index.html";

/// The one hidden name that is public by purpose (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// What may stand in a path segment as it is: RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The file that a URL's path names, relative to the root.
///
/// ```
/// use wasm_pool_static::path;
///
/// assert_eq!(path::to_file("/a%20b/").as_deref(), Ok("a b/index.html"));
/// assert!(path::to_file("/%2e%2e/secret").is_err());
/// ```
///
/// # Errors
/// Where it names none, or one that is not for everyone.
pub fn to_file(url_path: &str) -> Result<Cow<'_, str>, Refusal> {
    let relative = url_path.strip_prefix('/').ok_or(Refusal::BadPath)?;
    if is_plain(relative) {
        return Ok(Cow::Borrowed(relative));
    }
    let mut file = segments(url_path)?.join("/");
    if is_folder(url_path) {
        if !file.is_empty() {
            file.push('/');
        }
        file.push_str(INDEX);
    }
    Ok(Cow::Owned(file))
}

/// Whether a URL's path asks for a folder: what is behind it is then its index.
pub fn is_folder(url_path: &str) -> bool {
    url_path.ends_with('/')
}

/// Where a folder is that was asked for without its final slash.
///
/// Built from the decoded names and not from the path as sent: `//example.org` and `/\example.org`
/// would lead a browser to another host.
///
/// # Errors
/// Those of [`to_file`].
pub fn of_folder(url_path: &str, query: Option<&str>) -> Result<String, Refusal> {
    let mut location = String::with_capacity(url_path.len() + 2);
    for segment in segments(url_path)? {
        location.push('/');
        location.extend(utf8_percent_encode(&segment, ESCAPED));
    }
    location.push('/');
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    Ok(location)
}

/// Whether a relative path is a file's path already: the common case, which needs no copy.
fn is_plain(relative: &str) -> bool {
    let mut previous = b'/';
    for &byte in relative.as_bytes() {
        if byte == b'%' || (previous == b'/' && (byte == b'/' || byte == b'.')) {
            return false;
        }
        previous = byte;
    }
    previous != b'/'
}

/// The decoded names in a path. Empty ones, from repeated slashes, mean nothing and are left out.
fn segments(url_path: &str) -> Result<Vec<Cow<'_, str>>, Refusal> {
    let names = url_path.split('/').filter(|name| !name.is_empty());
    names.map(segment).collect()
}

/// One name, decoded. A slash that was escaped stays part of a name, and no file's name has one.
fn segment(escaped: &str) -> Result<Cow<'_, str>, Refusal> {
    if !escapes_are_complete(escaped) {
        return Err(Refusal::BadPath);
    }
    let name = percent_decode_str(escaped)
        .decode_utf8()
        .map_err(|_| Refusal::NotFound)?;
    if name.contains('\0') {
        return Err(Refusal::BadPath);
    }
    let is_hidden = name.starts_with('.') && name != WELL_KNOWN; // `.` and `..` among them
    if is_hidden || name.contains('/') {
        return Err(Refusal::NotFound);
    }
    Ok(name)
}

/// Whether two hexadecimal digits follow every `%`.
fn escapes_are_complete(escaped: &str) -> bool {
    let mut after_percent = escaped.split('%').skip(1);
    after_percent.all(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_file() {
        let file = |path| to_file(path).map(Cow::into_owned);
        let is = |file: &str| Ok(file.to_owned());
        assert_eq!(file("/a.txt"), is("a.txt"));
        assert_eq!(file("/a/b.txt"), is("a/b.txt"));
        assert_eq!(file("/a"), is("a"));
        assert_eq!(file("/"), is("index.html"));
        assert_eq!(file("//"), is("index.html"));
        assert_eq!(file("/a/"), is("a/index.html"));
        assert_eq!(file("/a//b"), is("a/b"));
        assert_eq!(file("//a"), is("a"));
        assert_eq!(file("/a%20b"), is("a b"));
        assert_eq!(file("/%c3%A9/"), is("é/index.html"));
        assert_eq!(file("/100%25"), is("100%"));
        assert_eq!(file("/%2525"), is("%25"));
        assert_eq!(file("/a\\b"), is("a\\b"));
        assert_eq!(file("/a."), is("a."));
        assert_eq!(file("/a..b"), is("a..b"));
        assert_eq!(file("/.well-known/x"), is(".well-known/x"));
    }

    #[test]
    fn a_path_that_is_none_is_refused() {
        let why = |path| to_file(path).err();
        assert_eq!(why(""), Some(Refusal::BadPath));
        assert_eq!(why("*"), Some(Refusal::BadPath));
        assert_eq!(why("a"), Some(Refusal::BadPath));
        assert_eq!(why("/%"), Some(Refusal::BadPath));
        assert_eq!(why("/%4"), Some(Refusal::BadPath));
        assert_eq!(why("/%zz"), Some(Refusal::BadPath));
        assert_eq!(why("/%+1"), Some(Refusal::BadPath));
        assert_eq!(why("/%é"), Some(Refusal::BadPath));
        assert_eq!(why("/a%00.txt"), Some(Refusal::BadPath));
        assert_eq!(why("/a%00/"), Some(Refusal::BadPath));
    }

    #[test]
    fn a_path_that_is_not_for_everyone_is_not_found() {
        let why = |path| to_file(path).err();
        assert_eq!(why("/.."), Some(Refusal::NotFound));
        assert_eq!(why("/../a"), Some(Refusal::NotFound));
        assert_eq!(why("/a/../b"), Some(Refusal::NotFound));
        assert_eq!(why("/%2e%2e/a"), Some(Refusal::NotFound));
        assert_eq!(why("/.%2E/a"), Some(Refusal::NotFound));
        assert_eq!(why("/./a"), Some(Refusal::NotFound));
        assert_eq!(why("/.git/config"), Some(Refusal::NotFound));
        assert_eq!(why("/a/.env"), Some(Refusal::NotFound));
        assert_eq!(why("/%2eenv"), Some(Refusal::NotFound));
        assert_eq!(why("/.well-known-too"), Some(Refusal::NotFound));
        assert_eq!(why("/a%2Fb"), Some(Refusal::NotFound));
        assert_eq!(why("/..%2fetc%2fpasswd"), Some(Refusal::NotFound));
        assert_eq!(why("/%ff"), Some(Refusal::NotFound));
        assert_eq!(why("/%c3"), Some(Refusal::NotFound));
    }

    #[test]
    fn a_folder_is_found_on_this_host() {
        let location = |path, query| of_folder(path, query).ok();
        let is = |location: &str| Some(location.to_owned());
        assert_eq!(location("/a", None), is("/a/"));
        assert_eq!(location("/a/b", Some("x=1&y=%20")), is("/a/b/?x=1&y=%20"));
        assert_eq!(location("/a", Some("")), is("/a/?"));
        assert_eq!(location("/a%20b", None), is("/a%20b/"));
        assert_eq!(location("/é", None), is("/%C3%A9/"));
        assert_eq!(location("//example.org", None), is("/example.org/"));
        assert_eq!(location("///example.org", None), is("/example.org/"));
        assert_eq!(location("/\\example.org", None), is("/%5Cexample.org/"));
        assert_eq!(location("/%5cexample.org", None), is("/%5Cexample.org/"));
        assert_eq!(location("/a?b", None), is("/a%3Fb/"));
        assert_eq!(location("/a%0d%0ab", None), is("/a%0D%0Ab/"));
        assert_eq!(location("/%2f%2fexample.org", None), None);
    }
}
