//! Compressed copies: `style.css.br` and `style.css.gz` beside `style.css` are sent in its place to
//! clients that can unpack them. Nothing is compressed here.

/// A content coding (RFC 9110, 8.4.1) that a copy may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    /// `br`, of RFC 7932.
    Brotli,
    /// `gzip`, of RFC 1952.
    Gzip,
}

impl Coding {
    /// The coding's name in `Accept-Encoding` and `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The extension of the copy's name. It also tells the copy's `ETag` from the original's.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gz",
        }
    }
}

/// The codings that a client accepts, the better first: by its weights, then by how small they make
/// a file.
///
/// `fields` are the values of `Accept-Encoding`. By the RFC, a request without this field accepts
/// any coding. But most clients that omit it can't unpack, so they get the original. The original
/// is always acceptable here, even with `identity;q=0`: it serves the client better than nothing.
///
/// ```
/// use wasm_pool_static::encoding::{Coding, accepted};
///
/// let fields = ["gzip, br;q=0.5"];
/// assert!(accepted(fields.into_iter()).eq([Coding::Gzip, Coding::Brotli]));
/// ```
pub fn accepted<'a>(fields: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Coding> {
    let (mut brotli, mut gzip, mut any) = (None, None, None);
    for member in fields.flat_map(|field| field.split(',')) {
        let (coding, weight) = member.split_once(';').unwrap_or((member, ""));
        let coding = coding.trim();
        let wanted = match () {
            () if coding.eq_ignore_ascii_case("br") => &mut brotli,
            () if coding.eq_ignore_ascii_case("gzip") => &mut gzip,
            () if coding.eq_ignore_ascii_case("x-gzip") => &mut gzip,
            () if coding == "*" => &mut any,
            () => continue,
        };
        *wanted = Some(thousandths(weight));
    }
    let weight = |wanted: Option<u16>| wanted.or(any).unwrap_or(0);
    let (brotli, gzip) = (weight(brotli), weight(gzip));
    let mut ranked = [(brotli, Coding::Brotli), (gzip, Coding::Gzip)];
    if gzip > brotli {
        ranked.reverse();
    }
    let acceptable = ranked.into_iter().filter(|&(weight, _)| weight > 0);
    acceptable.map(|(_, coding)| coding)
}

/// A weight such as `q=0.5` (RFC 9110, 12.4.2), from 0 to 1000. A missing weight is 1. An
/// unreadable one is 0, to be safe.
fn thousandths(weight: &str) -> u16 {
    let weight = weight.trim();
    if weight.is_empty() {
        return 1000;
    }
    let value = weight.strip_prefix("q=").or(weight.strip_prefix("Q="));
    let (whole, fraction) = match value {
        Some(value) => value.split_once('.').unwrap_or((value, "")),
        None => return 0,
    };
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let digits = fraction.bytes().chain([b'0'; 3]).take(3);
    let fraction = digits.fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => fraction,
        "1" if fraction == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_coding() {
        use Coding::{Brotli, Gzip};
        let of = |fields: &[&str]| accepted(fields.iter().copied()).collect::<Vec<_>>();
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[""]), []);
        assert_eq!(of(&["identity"]), []);
        assert_eq!(of(&["deflate, zstd"]), []);
        assert_eq!(of(&["gzip"]), [Gzip]);
        assert_eq!(of(&["GZIP"]), [Gzip]);
        assert_eq!(of(&["x-gzip"]), [Gzip]);
        assert_eq!(of(&["gzip, deflate, br, zstd"]), [Brotli, Gzip]);
        assert_eq!(of(&["gzip", "br"]), [Brotli, Gzip]);
        assert_eq!(of(&["br;q=0.5, gzip"]), [Gzip, Brotli]);
        assert_eq!(of(&["br;q=0.5,gzip;q=0.50"]), [Brotli, Gzip]);
        assert_eq!(of(&["br ; Q=0.001 , gzip ; q=0"]), [Brotli]);
        assert_eq!(of(&["*"]), [Brotli, Gzip]);
        assert_eq!(of(&["br;q=0, *"]), [Gzip]);
        assert_eq!(of(&["gzip, *;q=0"]), [Gzip]);
        assert_eq!(of(&["gzip;q=1.000, br;q=0.999"]), [Gzip, Brotli]);
        assert_eq!(of(&["gzip;q=0.", "br;q=1."]), [Brotli]);
        assert_eq!(of(&["gzip;q=1.001", "br;q=0.1234"]), []);
        assert_eq!(of(&["gzip;q=0.-", "br;q=0.+1"]), []);
        assert_eq!(of(&["gzip;q=2"]), []);
        assert_eq!(of(&["gzip;q=x"]), []);
        assert_eq!(of(&["gzip;level=9"]), []);
        assert_eq!(of(&["gzip;q=NaN"]), []);
    }
}
