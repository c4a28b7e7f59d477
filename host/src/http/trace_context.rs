//! The *trace context* of a request (W3C Trace Context, level 1): one number for all that happens
//! for it, on whatever machines. A valid one that the client sends is taken over. For any other
//! request the host makes one.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

use crate::message::Headers;

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

/// What a client has sent under this name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sent<'a> {
    Nothing,
    Once(&'a [u8]),
    /// Several fields, which are as good as none.
    Often,
}

impl TraceId {
    /// Adds the field to what a guest gets: what was sent if it is valid, or else a new one.
    pub(super) fn add(headers: &mut Headers, sent: Sent<'_>) -> Self {
        if let Sent::Once(value) = sent
            && let Some(id) = Self::valid(value)
        {
            headers.push(FIELD, value);
            return id;
        }
        let (id, made) = Self::make();
        headers.push(FIELD, &made);
        id
    }

    fn valid(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        is_valid(text).then(|| Self::within(value))?
    }

    /// A new one, and its field.
    fn make() -> (Self, [u8; BLANK.len()]) {
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

impl<'a> Sent<'a> {
    /// One more field.
    pub(super) fn and(self, value: &'a [u8]) -> Self {
        match self {
            Self::Nothing => Self::Once(value),
            Self::Once(_) | Self::Often => Self::Often,
        }
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
            let mut headers = Headers::default();
            let values = values.iter().map(|value| value.as_bytes());
            let id = TraceId::add(&mut headers, values.fold(Sent::Nothing, Sent::and));
            let field = headers.get(FIELD).expect("it is there");
            let field = std::str::from_utf8(field).expect("text").to_owned();
            assert!(is_valid(&field) && field.contains(id.as_str()), "{field}");
            Some(field).filter(|field| field[TRACE] == valid[TRACE])
        };
        assert_eq!(sent(&[valid]).as_deref(), Some(valid));
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
        assert_ne!(TraceId::make().0, TraceId::make().0);
    }
}
