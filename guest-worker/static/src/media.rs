//! What kind of content a file has, as its name's extension tells.

use alloc::string::String;

/// A media type (RFC 9110, 8.3) without parameters, such as `text/html`.
///
/// ```
/// use wasm_pool_static::media::MediaType;
///
/// let html = MediaType::of("a/index.html");
/// assert_eq!(html.content_type(), "text/html; charset=utf-8");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct MediaType(&'static str);

/// For files whose names don't tell: a browser saves it and does not try to show it.
const UNKNOWN: &str = "application/octet-stream";

/// Longer extensions than these are not known.
const LONGEST: usize = 11;

impl MediaType {
    /// The types that browsers and feed readers make a difference for; nginx and Apache know the
    /// same, and many more that are all saved to disk. It is a `match` and not a table, since this
    /// is on the path of every request: a table of all registered types would take longer than
    /// reading the file.
    pub fn of(file: &str) -> Self {
        let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
        let Some((_, extension)) = name.rsplit_once('.') else {
            return Self(UNKNOWN);
        };
        let mut buffer = [0; LONGEST];
        let Some(lower) = buffer.get_mut(..extension.len()) else {
            return Self(UNKNOWN);
        };
        lower.copy_from_slice(extension.as_bytes());
        lower.make_ascii_lowercase();
        Self(match &*lower {
            b"html" | b"htm" => "text/html",
            b"css" => "text/css",
            b"js" | b"mjs" => "text/javascript", // RFC 9239
            b"json" | b"map" => "application/json",
            b"png" => "image/png",
            b"jpg" | b"jpeg" => "image/jpeg",
            b"svg" => "image/svg+xml",
            b"webp" => "image/webp",
            b"avif" => "image/avif",
            b"gif" => "image/gif",
            b"ico" => "image/x-icon",
            b"bmp" => "image/bmp",
            b"apng" => "image/apng",
            b"tif" | b"tiff" => "image/tiff",
            b"woff2" => "font/woff2",
            b"woff" => "font/woff",
            b"ttf" => "font/ttf",
            b"otf" => "font/otf",
            b"wasm" => "application/wasm",
            b"txt" | b"text" | b"log" => "text/plain",
            b"md" | b"markdown" => "text/markdown",
            b"csv" => "text/csv",
            b"vtt" => "text/vtt",
            b"ics" => "text/calendar",
            b"xml" => "text/xml",
            b"xhtml" => "application/xhtml+xml",
            b"rss" => "application/rss+xml",
            b"atom" => "application/atom+xml",
            b"webmanifest" => "application/manifest+json",
            b"jsonld" => "application/ld+json",
            b"geojson" => "application/geo+json",
            b"yaml" | b"yml" => "application/yaml",
            b"toml" => "application/toml",
            b"pdf" => "application/pdf",
            b"rtf" => "application/rtf",
            b"epub" => "application/epub+zip",
            b"mp4" | b"m4v" => "video/mp4",
            b"webm" => "video/webm",
            b"ogv" => "video/ogg",
            b"mov" => "video/quicktime",
            b"avi" => "video/x-msvideo",
            b"mpeg" | b"mpg" => "video/mpeg",
            b"m3u8" => "application/vnd.apple.mpegurl",
            b"mp3" => "audio/mpeg",
            b"m4a" => "audio/mp4",
            b"aac" => "audio/aac",
            b"ogg" | b"oga" | b"opus" => "audio/ogg",
            b"wav" => "audio/wav",
            b"flac" => "audio/flac",
            b"mid" | b"midi" => "audio/midi",
            b"zip" => "application/zip",
            b"gz" | b"tgz" => "application/gzip",
            b"bz2" => "application/x-bzip2",
            b"xz" => "application/x-xz",
            b"zst" => "application/zstd",
            b"7z" => "application/x-7z-compressed",
            b"tar" => "application/x-tar",
            b"jar" => "application/java-archive",
            _ => UNKNOWN,
        })
    }

    /// The value of `Content-Type`. Text is said to be UTF-8, as nearly all text on the web is.
    pub fn content_type(self) -> String {
        let charset = if self.is_text() {
            "; charset=utf-8"
        } else {
            ""
        };
        [self.0, charset].concat()
    }

    /// Whether a compressed copy is worth looking for: images, sound and archives are compressed
    /// already.
    pub fn is_compressible(self) -> bool {
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
        assert_eq!(of("a.mjs"), "text/javascript; charset=utf-8");
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
        assert_eq!(of("a.an-extension-beyond-all-bounds"), UNKNOWN);
    }

    #[test]
    fn what_shrinks_is_compressible() {
        let of = |file| MediaType::of(file).is_compressible();
        assert!(["a.html", "a.svg", "a.wasm", "a.xhtml"].into_iter().all(of));
        assert!(!["a.png", "a.gz", "a.woff2", "a"].into_iter().any(of));
    }
}
