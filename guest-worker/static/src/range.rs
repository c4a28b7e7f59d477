//! `Range`: the part of a file that a client asks for (RFC 9110, 14).

/// What a `Range` field comes to, for a file of a certain size.
#[derive(Debug, PartialEq)]
pub enum Range {
    /// The whole file, as if nothing had been asked. So it is where the field makes no sense, and
    /// where it asks for several parts: a server may ignore it (14.2), and hardly any client asks
    /// for them.
    Whole,
    /// These bytes; at least one.
    Part {
        /// Bytes before them.
        offset: u64,
        /// How many they are.
        length: u64,
    },
    /// No byte of the file is in it.
    Outside,
}

impl Range {
    /// Reads the field's value for a file of `size` bytes.
    ///
    /// ```
    /// use wasm_pool_static::range::Range;
    ///
    /// assert_eq!(Range::of("bytes=-3", 10), Range::Part { offset: 7, length: 3 });
    /// assert_eq!(Range::of("bytes=10-", 10), Range::Outside);
    /// ```
    pub fn of(field: &str, size: u64) -> Self {
        let Some((unit, range)) = field.split_once('=') else {
            return Self::Whole;
        };
        let Some((first, last)) = range.trim().split_once('-') else {
            return Self::Whole;
        };
        if !unit.eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Self::between(first, last, size),
            (Some(first), None) if last.is_empty() => Self::between(first, u64::MAX, size),
            (None, Some(count)) if first.is_empty() => Self::last(count, size),
            (_, _) => Self::Whole,
        }
    }

    /// From byte number `first` to byte number `last`, or to the end.
    fn between(first: u64, last: u64, size: u64) -> Self {
        if first >= size {
            return Self::Outside;
        }
        Self::Part {
            offset: first,
            length: last.min(size - 1) - first + 1,
        }
    }

    /// The last `count` bytes.
    fn last(count: u64, size: u64) -> Self {
        match (count, size) {
            (0, _) => Self::Outside,
            (_, 0) => Self::Whole, // can be had, but `Content-Range` has no word for it
            (_, _) => Self::Part {
                offset: size.saturating_sub(count),
                length: size.min(count),
            },
        }
    }
}

/// Digits as a number. More than fit mean a place behind the end of every file.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_part_of_the_file() {
        let part = |offset, length| Range::Part { offset, length };
        assert_eq!(Range::of("bytes=0-0", 10), part(0, 1));
        assert_eq!(Range::of("bytes=2-5", 10), part(2, 4));
        assert_eq!(Range::of("Bytes= 2-5 ", 10), part(2, 4));
        assert_eq!(Range::of("bytes=0-9", 10), part(0, 10));
        assert_eq!(Range::of("bytes=9-", 10), part(9, 1));
        assert_eq!(Range::of("bytes=5-100", 10), part(5, 5));
        assert_eq!(Range::of("bytes=5-99999999999999999999", 10), part(5, 5));
        assert_eq!(Range::of("bytes=-3", 10), part(7, 3));
        assert_eq!(Range::of("bytes=-10", 10), part(0, 10));
        assert_eq!(Range::of("bytes=-11", 10), part(0, 10));
        assert_eq!(Range::of("bytes=-99999999999999999999", 10), part(0, 10));
        assert_eq!(Range::of("bytes=0-", u64::MAX), part(0, u64::MAX));
    }

    #[test]
    fn a_range_behind_the_end_is_outside() {
        assert_eq!(Range::of("bytes=10-", 10), Range::Outside);
        assert_eq!(Range::of("bytes=10-11", 10), Range::Outside);
        assert_eq!(Range::of("bytes=99999999999999999999-", 10), Range::Outside);
        assert_eq!(Range::of("bytes=-0", 10), Range::Outside);
        assert_eq!(Range::of("bytes=0-", 0), Range::Outside);
        assert_eq!(Range::of("bytes=0-0", 0), Range::Outside);
    }

    #[test]
    fn what_makes_no_sense_is_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=x-5",
            "bytes=0-x",
            "bytes=5-2",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=0x1-2",
            "bytes=--1",
            "bytes=1-2-3",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "items=0-1",
            "0-1",
        ] {
            assert_eq!(Range::of(field, 10), Range::Whole, "{field}");
        }
        assert_eq!(Range::of("bytes=-5", 0), Range::Whole);
    }
}
