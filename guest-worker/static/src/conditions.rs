//! Conditional requests (RFC 9110, 13): a client names the version of a file that it has or
//! expects, and is told that nothing changed, or that too much did.

use alloc::string::String;

use wasm_pool_guest::Request;
use wasm_pool_guest::files::Metadata;

use crate::date;
use crate::encoding::Coding;

/// The validators of one version of a file: its entity tag and its time of change.
///
/// ```
/// use wasm_pool_guest::Request;
/// use wasm_pool_guest::files::{Kind, Metadata, Timestamp};
/// use wasm_pool_static::conditions::{Validators, Verdict};
///
/// let modified = Timestamp { seconds: 784_111_777, nanoseconds: 0 };
/// let metadata = Metadata { kind: Kind::RegularFile, size: 16, modified };
/// let validators = Validators::of(&metadata, None);
/// let request = Request::new("GET", "/").with_header("if-none-match", validators.etag());
/// assert_eq!(validators.judge(&request), Verdict::NotModified);
/// ```
#[derive(Debug)]
pub struct Validators {
    /// Quoted, as on the wire.
    etag: String,
    /// The time of change in seconds since 1970, which is HTTP's precision.
    modified: u64,
}

/// The outcome of a request's conditions.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// The conditions hold, or there are none.
    Proceed,
    /// The client has this version already: `304`.
    NotModified,
    /// The client expects another version: `412`.
    Failed,
}

impl Validators {
    /// Makes the tag from the size and the time of change. The tag is strong, as with other file
    /// servers: two versions share a tag only if they have the same length and the clock did not
    /// move between them.
    pub fn of(metadata: &Metadata, coding: Option<Coding>) -> Self {
        let (size, modified) = (metadata.size, metadata.modified);
        let (seconds, nanoseconds) = (modified.seconds, modified.nanoseconds);
        let mut etag = String::with_capacity(LONGEST_TAG);
        etag.push('"');
        push_hex(&mut etag, seconds);
        etag.push('.');
        push_hex(&mut etag, nanoseconds.into());
        etag.push('-');
        push_hex(&mut etag, size);
        if let Some(coding) = coding {
            etag.push('-');
            etag.push_str(coding.extension());
        }
        etag.push('"');
        Self {
            etag,
            modified: seconds,
        }
    }

    /// The value of `ETag`.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The value of `Last-Modified`; none for times that HTTP can't write.
    pub fn last_modified(&self) -> Option<[u8; 29]> {
        date::write(self.modified)
    }

    /// Weighs the conditions of a request in the order that RFC 9110, 13.2.2, demands.
    pub fn judge(&self, request: &Request) -> Verdict {
        let expected = match Match::of(request, "if-match") {
            Some(tags) => tags.names(|tag| tag == self.etag), // strong: a `W/` before the tag fails it
            None => match date(request, "if-unmodified-since") {
                Some(date) => self.modified <= date,
                None => true,
            },
        };
        if !expected {
            return Verdict::Failed;
        }
        let known = match Match::of(request, "if-none-match") {
            Some(tags) => tags.names(|tag| tag.trim_start_matches("W/") == self.etag),
            None => match date(request, "if-modified-since") {
                Some(date) => self.modified <= date,
                None => false,
            },
        };
        if known {
            Verdict::NotModified
        } else {
            Verdict::Proceed
        }
    }

    /// Whether `If-Range` allows a part of this version: the client has the same version.
    pub fn continue_with(&self, if_range: Option<&str>) -> bool {
        match if_range.map(str::trim) {
            None => true,
            Some(tag) if tag.ends_with('"') => tag == self.etag,
            Some(date) => date::read(date) == Some(self.modified),
        }
    }
}

/// Two quotes, two numbers of 64 bits and one of 32, a coding's extension, and what is between
/// them.
const LONGEST_TAG: usize = 2 + 2 * 16 + 8 + 2 + 4;

/// A number in hexadecimal. `format!` would do it too, at the price of all else in this file
/// together.
fn push_hex(text: &mut String, number: u64) {
    let digits = (u64::BITS - (number | 1).leading_zeros()).div_ceil(4);
    for digit in (0..digits).rev() {
        let value = (number >> (4 * digit)) & 0xf;
        text.push(char::from(b"0123456789abcdef"[value as usize]));
    }
}

/// A field that is a list of entity tags, or `*` for any.
struct Match<'a> {
    request: &'a Request,
    name: &'a str,
}

impl<'a> Match<'a> {
    fn of(request: &'a Request, name: &'a str) -> Option<Self> {
        let is_there = request.headers.iter().any(|field| field.name == name);
        is_there.then_some(Self { request, name })
    }

    fn names(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let mut fields = self.request.headers_named(self.name);
        fields.any(|field| field.trim() == "*" || tags(field).any(&is_it))
    }
}

/// The tags in a list, with quotes and `W/`. A tag may contain commas. A malformed tag ends the
/// list.
fn tags(mut list: &str) -> impl Iterator<Item = &str> {
    core::iter::from_fn(move || {
        list = list.trim_start_matches([' ', '\t', ',']);
        let opening = if list.starts_with("W/\"") { 2 } else { 0 };
        let content = list.get(opening..)?.strip_prefix('"')?;
        let length = opening + content.find('"')? + 2;
        let (tag, rest) = list.split_at(length);
        list = rest;
        Some(tag)
    })
}

/// A field that is a date, in seconds since 1970. An unreadable date counts as absent (13.1.3).
fn date(request: &Request, name: &str) -> Option<u64> {
    date::read(request.header(name)?)
}

#[cfg(test)]
mod tests {
    use wasm_pool_guest::files::{Kind, Timestamp};

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const TAG: &str = "\"2ebc98a1.ff-10\"";
    const WEAK: &str = "W/\"2ebc98a1.ff-10\"";

    fn validators(seconds: u64, coding: Option<Coding>) -> Validators {
        let modified = Timestamp {
            seconds,
            nanoseconds: 255,
        };
        let metadata = Metadata {
            kind: Kind::RegularFile,
            size: 16,
            modified,
        };
        Validators::of(&metadata, coding)
    }

    fn judge(fields: &[(&str, &str)]) -> Verdict {
        let request = fields
            .iter()
            .fold(Request::new("GET", "/"), |request, (name, value)| {
                request.with_header(*name, *value)
            });
        validators(784_111_777, None).judge(&request)
    }

    #[test]
    fn a_version_has_a_tag_and_a_date() {
        assert_eq!(validators(784_111_777, None).etag(), TAG);
        let gzip = validators(784_111_777, Some(Coding::Gzip));
        assert_eq!(gzip.etag(), "\"2ebc98a1.ff-10-gz\"");
        let last_modified = |seconds| validators(seconds, None).last_modified();
        assert_eq!(
            last_modified(784_111_777)
                .as_ref()
                .map(<[u8; 29]>::as_slice),
            Some(THEN.as_bytes())
        );
        assert_eq!(last_modified(u64::MAX), None);
    }

    #[test]
    fn a_known_version_is_not_sent_again() {
        use Verdict::{NotModified, Proceed};
        let list = format!("\"a,b\", W/\"c\" ,,{TAG}");
        assert_eq!(judge(&[]), Proceed);
        assert_eq!(judge(&[("if-none-match", TAG)]), NotModified);
        assert_eq!(judge(&[("if-none-match", WEAK)]), NotModified);
        assert_eq!(judge(&[("if-none-match", &list)]), NotModified);
        assert_eq!(judge(&[("if-none-match", " * ")]), NotModified);
        assert_eq!(judge(&[("if-none-match", "\"a\"")]), Proceed);
        assert_eq!(judge(&[("if-none-match", "2ebc98a1.ff-10")]), Proceed);
        assert_eq!(judge(&[("if-none-match", "\"")]), Proceed);
        assert_eq!(judge(&[("if-none-match", "")]), Proceed);
        let two = [("if-none-match", "\"a\""), ("if-none-match", TAG)];
        assert_eq!(judge(&two), NotModified);
        assert_eq!(judge(&[("if-modified-since", BEFORE)]), Proceed);
        assert_eq!(judge(&[("if-modified-since", THEN)]), NotModified);
        assert_eq!(judge(&[("if-modified-since", AFTER)]), NotModified);
        assert_eq!(judge(&[("if-modified-since", "yesterday")]), Proceed);
        let both = [("if-none-match", "\"a\""), ("if-modified-since", THEN)];
        assert_eq!(judge(&both), Proceed);
    }

    #[test]
    fn an_unexpected_version_is_not_sent() {
        use Verdict::{Failed, NotModified, Proceed};
        assert_eq!(judge(&[("if-match", TAG)]), Proceed);
        assert_eq!(judge(&[("if-match", "*")]), Proceed);
        assert_eq!(judge(&[("if-match", WEAK)]), Failed);
        assert_eq!(judge(&[("if-match", "\"a\"")]), Failed);
        assert_eq!(judge(&[("if-match", "")]), Failed);
        assert_eq!(judge(&[("if-unmodified-since", BEFORE)]), Failed);
        assert_eq!(judge(&[("if-unmodified-since", THEN)]), Proceed);
        assert_eq!(judge(&[("if-unmodified-since", "tomorrow")]), Proceed);
        let match_wins = [("if-match", TAG), ("if-unmodified-since", BEFORE)];
        assert_eq!(judge(&match_wins), Proceed);
        let both = [("if-match", TAG), ("if-none-match", TAG)];
        assert_eq!(judge(&both), NotModified);
        let failed_first = [("if-match", "\"a\""), ("if-none-match", TAG)];
        assert_eq!(judge(&failed_first), Failed);
    }

    #[test]
    fn a_range_continues_the_same_version_only() {
        let continues = |field| validators(784_111_777, None).continue_with(field);
        assert!(continues(None));
        assert!(continues(Some(TAG)));
        assert!(continues(Some(THEN)));
        assert!(!continues(Some(WEAK)));
        assert!(!continues(Some("\"a\"")));
        assert!(!continues(Some(BEFORE)));
        assert!(!continues(Some(AFTER)));
        assert!(!continues(Some("")));
    }
}
