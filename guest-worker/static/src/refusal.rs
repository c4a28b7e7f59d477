//! A *refusal* is an answer other than the file: each reason with its status and a line for the
//! client.

use alloc::format;

use wasm_pool_guest::Response;
use wasm_pool_guest::files::ErrorCode;

/// The methods that a file answers, for `Allow`.
pub const METHODS: &str = "GET, HEAD, OPTIONS";

/// Why a request gets no file.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    /// The path is not one: a broken escape, or a NUL byte.
    BadPath,
    /// The host may not read the file, or it lies outside the root.
    Forbidden,
    /// No file has this name, or none that is for everyone.
    NotFound,
    /// A method that files don't have.
    Method,
    /// `If-Match` or `If-Unmodified-Since` doesn't hold.
    Precondition,
    /// The range asked for begins behind the end of the file.
    Range {
        /// Bytes that the file has.
        size: u64,
    },
    /// Nothing is wrong with the request; this process can't read the file, or not now.
    Unreadable {
        /// Whether trying again helps.
        for_now: bool,
    },
}

impl Refusal {
    /// What the client gets.
    pub fn into_response(self) -> Response {
        match self {
            Self::BadPath => Response::text(400, "This path is malformed.\n"),
            Self::Forbidden => Response::text(403, "This file may not be read.\n"),
            Self::NotFound => Response::text(404, "There is no such file.\n"),
            Self::Method => Response::text(405, "Files can be read, and nothing else.\n")
                .with_header("allow", METHODS),
            Self::Precondition => Response::text(412, "The file is not as you expect.\n"),
            Self::Range { size } => Response::text(416, "The file ends before this range.\n")
                .with_header("content-range", format!("bytes */{size}")),
            Self::Unreadable { for_now: true } => {
                Response::text(503, "Too many files are open; try again.\n")
            }
            Self::Unreadable { for_now: false } => {
                Response::text(500, "The file can't be read; the server's log says why.\n")
            }
        }
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        match error {
            ErrorCode::Access => Self::Forbidden,
            // A path names nothing that could be sent. Why is our business, not the client's.
            ErrorCode::NoEntry
            | ErrorCode::IsDirectory
            | ErrorCode::NotDirectory
            | ErrorCode::NotSupported
            | ErrorCode::InvalidPath
            | ErrorCode::NameTooLong
            | ErrorCode::Loop => Self::NotFound,
            ErrorCode::TooManyOpen => Self::Unreadable { for_now: true },
            ErrorCode::TooLarge | ErrorCode::Io => Self::Unreadable { for_now: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_status() {
        let status = |refusal: Refusal| refusal.into_response().status;
        assert_eq!(status(Refusal::BadPath), 400);
        assert_eq!(status(Refusal::Forbidden), 403);
        assert_eq!(status(Refusal::NotFound), 404);
        assert_eq!(status(Refusal::Method), 405);
        assert_eq!(status(Refusal::Precondition), 412);
        assert_eq!(status(Refusal::Range { size: 1 }), 416);
        assert_eq!(status(ErrorCode::Loop.into()), 404);
        assert_eq!(status(ErrorCode::Io.into()), 500);
        assert_eq!(status(ErrorCode::TooManyOpen.into()), 503);
    }
}
