//! What holds for any bytes that a client may send, shown on many that nobody would think of.

use wasm_pool_guest::Request;
use wasm_pool_guest::files::{Kind, Metadata, Timestamp};

use crate::conditions::{Validators, Verdict};
use crate::encoding::{Coding, accepted};
use crate::media::MediaType;
use crate::path;
use crate::range::Range;
use crate::{answer_below, date};

/// Each case takes about a microsecond.
const CASES: usize = 200_000;

/// Texts made of the pieces that mean something, and of some that don't: the same ones in each run.
struct Texts {
    state: u64,
    pieces: &'static [&'static str],
}

impl Texts {
    fn of(pieces: &'static [&'static str]) -> Self {
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            pieces,
        }
    }

    /// xorshift64*
    fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.number() >> 33) as usize % bound
    }

    /// Small numbers, large ones, and those around powers of two.
    fn size(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        let power = 1_u64.checked_shl(bits).unwrap_or(0);
        power.wrapping_add(self.below(5) as u64).wrapping_sub(2)
    }

    fn text(&mut self) -> String {
        (0..self.below(9))
            .map(|_| self.pieces[self.below(self.pieces.len())])
            .collect()
    }
}

#[test]
fn a_part_lies_in_the_file() {
    let mut texts = Texts::of(&[
        "=",
        "-",
        "-",
        "0",
        "1",
        "9",
        "99",
        "18446744073709551615",
        "-1",
        " ",
        ",",
        "Bytes=",
        "x",
        "é",
        "+",
        "\0",
    ]);
    let mut parts = 0;
    for _ in 0..CASES {
        let unit = ["bytes=", "bytes=", "Bytes= ", ""][texts.below(4)];
        let (field, size) = ([unit, &texts.text()].concat(), texts.size());
        match Range::of(&field, size) {
            Range::Part { offset, length } => {
                let end = offset.checked_add(length);
                assert!(
                    length > 0 && end.is_some_and(|end| end <= size),
                    "{field:?} of {size}"
                );
                parts += 1;
            }
            Range::Whole | Range::Outside => {}
        }
    }
    assert!(parts > CASES / 100, "{parts} parts among them");
}

#[test]
fn what_is_said_of_a_range_is_found_in_it() {
    let mut texts = Texts::of(&[]);
    for _ in 0..CASES {
        let (first, last, size) = (texts.size(), texts.size(), texts.size());
        let expected = match (first <= last, first < size) {
            (false, _) => Range::Whole,
            (true, false) => Range::Outside,
            (true, true) => Range::Part {
                offset: first,
                length: last.min(size - 1) - first + 1,
            },
        };
        assert_eq!(Range::of(&format!("bytes={first}-{last}"), size), expected);
    }
}

const PATHS: &[&str] = &[
    "/",
    "/",
    "/",
    ".",
    "..",
    "a",
    "b.html",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "%00",
    "%",
    "%4",
    "%c3%a9",
    "%ff",
    "%25",
    "\\",
    "é",
    ".git",
    ".well-known",
    " ",
    "?",
    "#",
    "\0",
    "\r\n",
    "//host",
];

#[test]
fn a_path_never_leads_out_and_to_nothing_hidden() {
    let mut texts = Texts::of(PATHS);
    let mut files = 0;
    for _ in 0..CASES {
        let url = texts.text();
        let Ok(file) = path::to_file(&url) else {
            continue;
        };
        files += 1;
        for name in file.split('/') {
            let is_hidden = name.starts_with('.') && name != ".well-known";
            assert!(!name.is_empty() && !is_hidden, "{url:?} is {file:?}");
        }
        // The host takes it as it is.
        let _type = MediaType::of(&file).content_type();
    }
    assert!(files > CASES / 100, "{files} files among them");
}

#[test]
fn a_folder_is_on_this_host_and_is_what_was_asked_for() {
    let mut texts = Texts::of(PATHS);
    for _ in 0..CASES {
        let url = texts.text();
        let (Ok(location), Ok(file)) = (path::of_folder(&url, None), path::to_file(&url)) else {
            continue;
        };
        assert!(
            location.starts_with('/') && !location.starts_with("//"),
            "{location:?}"
        );
        assert!(
            location.is_ascii() && !location.contains(['\\', '\r', '\n']),
            "{location:?}"
        );
        // Where it leads is the index of the folder that was meant.
        let index = path::to_file(&location).expect("a path of ours");
        let asked = file.strip_suffix("index.html").unwrap_or(&file);
        let asked = asked.trim_end_matches('/');
        let folder = index
            .strip_suffix("index.html")
            .map(|rest| rest.trim_end_matches('/'));
        assert!(
            folder == Some(asked) || folder == Some(&*file),
            "{url:?} leads to {location:?}"
        );
    }
}

#[test]
fn any_request_gets_an_answer() {
    let mut texts = Texts::of(&["/static", "/", "x", "..", "%", "%2e", "*", "s", "\0", ""]);
    for _ in 0..CASES {
        let target = texts.text();
        // No method that would open a file.
        let request = Request::new("DELETE", &target);
        if let Some(response) = answer_below("/static", &request) {
            assert_eq!(response.status, 405);
            assert!(request.path.starts_with("/static"));
        }
    }
}

#[test]
fn conditions_are_judged_whatever_they_are() {
    let mut texts = Texts::of(&[
        "\"",
        "\"",
        "W/",
        "w/",
        ",",
        " ",
        "*",
        "a",
        "0.0-0",
        "\"2.0-5\"",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "GMT",
        "99:99:99",
        "é",
        "\t",
    ]);
    let names = [
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
    ];
    for _ in 0..CASES / 4 {
        let modified = Timestamp {
            seconds: texts.size(),
            nanoseconds: 0,
        };
        let size = texts.size();
        let metadata = Metadata {
            kind: Kind::RegularFile,
            size,
            modified,
        };
        let validators = Validators::of(&metadata, None);
        let request = Request::new("GET", "/").with_header(names[texts.below(4)], texts.text());
        let _any = validators.judge(&request);
        let _any = validators.continue_with(Some(&texts.text()));
        let own = Request::new("GET", "/").with_header("if-none-match", validators.etag());
        assert_eq!(validators.judge(&own), Verdict::NotModified);
    }
}

#[test]
fn dates_and_codings_are_read_whatever_they_are() {
    let mut texts = Texts::of(&[
        "Sun", ",", " ", "06", "6", "Nov", "-", "1994", "94", "08:49:37", "0:0:0", "GMT", "99",
        "é", ":", "",
    ]);
    for _ in 0..CASES {
        let text = texts.text();
        if let Some(written) = date::read(&text).and_then(date::write) {
            let written = std::str::from_utf8(&written).expect("ASCII");
            assert_eq!(date::read(written), date::read(&text), "{text:?}");
        }
    }
    let mut texts = Texts::of(&[
        "br", "gzip", "*", ",", ";", "q=", "0", "1", ".", "5", "x-", " ", "é",
    ]);
    for _ in 0..CASES {
        let fields = [texts.text(), texts.text()];
        let codings: Vec<Coding> = accepted(fields.iter().map(String::as_str)).collect();
        let are_known = matches!(&codings[..], [] | [_])
            || matches!(&codings[..], [one, other] if one != other);
        assert!(are_known, "{fields:?}");
    }
}
