//! What kind of content a file has, as its name's extension tells.

/// A media type (RFC 9110, 8.3) without parameters, such as `text/html`.
#[derive(Clone, Copy)]
pub(crate) struct MediaType(&'static str);

/// For files whose names don't tell: a browser saves it and does not try to show it.
const UNKNOWN: &str = "application/octet-stream";

impl MediaType {
    pub(crate) fn of(file: &str) -> Self {
        Self(mime_guess::from_path(file).first_raw().unwrap_or(UNKNOWN))
    }

    /// The value of `Content-Type`. Text is said to be UTF-8, as nearly all text on the web is.
    pub(crate) fn content_type(self) -> String {
        let charset = if self.is_text() {
            "; charset=utf-8"
        } else {
            ""
        };
        [self.0, charset].concat()
    }

    /// Whether a compressed copy is worth looking for: images, sound and archives are compressed already.
    pub(crate) fn is_compressible(self) -> bool {
        self.is_text() || self.0.ends_with("xml") || self.0 == "application/wasm"
    }

    fn is_text(self) -> bool {
        self.0.starts_with("text/")
            || self.0.ends_with("json")
            || self.0.ends_with("javascript")
            || self.0 == "image/svg+xml"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_type() {
        let of = |file| MediaType::of(file).content_type();
        assert_eq!(of("a/index.html"), "text/html; charset=utf-8");
        assert_eq!(of("A.HTML"), "text/html; charset=utf-8");
        assert_eq!(of("a.css"), "text/css; charset=utf-8");
        assert_eq!(of("a.js"), "text/javascript; charset=utf-8");
        assert_eq!(of("a.mjs"), "application/javascript; charset=utf-8");
        assert_eq!(of("a.json"), "application/json; charset=utf-8");
        assert_eq!(
            of("a.webmanifest"),
            "application/manifest+json; charset=utf-8"
        );
        assert_eq!(of("a.svg"), "image/svg+xml; charset=utf-8");
        assert_eq!(of("a.txt"), "text/plain; charset=utf-8");
        assert_eq!(of("a.png"), "image/png");
        assert_eq!(of("a.wasm"), "application/wasm");
        assert_eq!(of("a.css.gz"), "application/gzip");
        assert_eq!(of("a.no-such-type"), UNKNOWN);
        assert_eq!(of("LICENSE"), UNKNOWN);
        assert_eq!(of("a.html/b"), UNKNOWN);
    }

    #[test]
    fn what_shrinks_is_compressible() {
        let of = |file| MediaType::of(file).is_compressible();
        assert!(["a.html", "a.svg", "a.wasm", "a.xhtml"].into_iter().all(of));
        assert!(!["a.png", "a.gz", "a.woff2", "a"].into_iter().any(of));
    }
}
