//! The *trace context* of a request (W3C Trace Context, level 1): one number for all that happens
//! for it, on whatever machines. A valid one that the client sends is taken over. For any other
//! request the host makes one.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use hyper::header::HeaderMap;

/// The name of the field.
pub(super) const FIELD: &str = "traceparent";

/// Where the number of the trace stands in the field, and that of the caller's span.
const TRACE: Range<usize> = 3..35;
const SPAN: Range<usize> = 36..52;

/// The value of the field without digits that mean anything: nobody records this trace.
const BLANK: [u8; 55] = *b"00-00000000000000000000000000000000-0000000000000000-00";

/// The number of a trace, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TraceId([u8; 32]);

/// The value of a field that the host has made.
pub(super) type Made = [u8; BLANK.len()];

impl TraceId {
    /// That of the client's own field, if there is one and it is valid.
    pub(super) fn sent(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(FIELD).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let value = value.to_str().ok()?;
        is_valid(value).then(|| Self::within(value.as_bytes()))?
    }

    /// A new one, and its field.
    pub(super) fn make() -> (Self, Made) {
        let mut made = BLANK;
        made[TRACE]
            .chunks_mut(16)
            .for_each(|part| hex(random(), part));
        hex(random(), &mut made[SPAN]);
        let mut id = [0; 32];
        id.copy_from_slice(&made[TRACE]);
        (Self(id), made)
    }

    fn within(value: &[u8]) -> Option<Self> {
        let id = value.get(TRACE)?;
        id.try_into().map(Self).ok()
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Writes the digits of a number, the highest first.
fn hex(bits: u64, digits: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, digit) in digits.iter_mut().rev().enumerate() {
        *digit = DIGITS[(bits >> (4 * at)) as usize % 16];
    }
}

/// `version-trace-parent-flags` in lower-case hexadecimal digits. Neither number is 0, and version
/// ff is invalid. A later version may have more behind the flags.
fn is_valid(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, parent, flags, rest @ ..] = &parts[..] else {
        return false;
    };
    let is_hex = |part: &str, length: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        part.len() == length && part.bytes().all(is_digit)
    };
    let is_number =
        |part: &str, length: usize| is_hex(part, length) && part.contains(|digit| digit != '0');
    is_hex(version, 2)
        && *version != "ff"
        && is_number(trace, 32)
        && is_number(parent, 16)
        && is_hex(flags, 2)
        && (rest.is_empty() || *version != "00")
}

/// A number that is not 0 and that nobody needs to guess: xorshift64*, seeded for each thread.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
    }
    STATE.with(|state| {
        let mut bits = state.get();
        bits ^= bits >> 12;
        bits ^= bits << 25;
        bits ^= bits >> 27;
        state.set(bits);
        bits.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let sent = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(FIELD, value.parse().expect("a value"));
            }
            TraceId::sent(&headers)
        };
        let taken = sent(&[valid]).expect("it is valid");
        assert_eq!(taken.as_str(), &valid[TRACE]);
        assert!(sent(&[&format!("{}-later", valid.replacen("00", "01", 1))]).is_some());
        for invalid in [
            "",
            "00",
            &valid.to_uppercase(),
            &valid.replace("00-", "ff-"),
            &format!("{valid}-more"),
            &valid[..54],
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        ] {
            assert!(sent(&[invalid]).is_none(), "{invalid}");
        }
        assert!(sent(&[]).is_none() && sent(&[valid, valid]).is_none());
        let ((one, field), (other, _)) = (TraceId::make(), TraceId::make());
        let field = std::str::from_utf8(&field).expect("text");
        assert!(
            is_valid(field) && one != other && field.contains(one.as_str()),
            "{field}"
        );
    }
}
