//! Reading whole files, as `std::fs::read` does with `std`.

use alloc::vec::Vec;

use crate::files::{self, ErrorCode};

/// The bytes of one read beyond the expected size, for a file that has grown meanwhile.
const MORE_BYTES: usize = 4 << 10;

/// The whole content of the file at `path`.
///
/// ```no_run
/// use wasm_pool_guest::files::ErrorCode;
/// use wasm_pool_guest::{Request, Response};
///
/// fn page(_: Request) -> Response {
///     match wasm_pool_guest::read("page.html") {
///         Ok(html) => Response::new(200).with_body(html),
///         Err(ErrorCode::NoEntry) => Response::text(404, "There is no page.\n"),
///         Err(error) => Response::text(500, error.name()),
///     }
/// }
/// # page(Request::new("GET", "/")); // only the host has files
/// ```
///
/// # Errors
/// Those of [`files::open`] and of reading; [`ErrorCode::TooLarge`] if the file doesn't fit into
/// this process's memory.
pub fn read(path: &str) -> Result<Vec<u8>, ErrorCode> {
    read_at_most(path, usize::MAX)
}

/// As [`read`], for a file of at most `most` bytes; nothing of a larger file is read. For files
/// that others control.
///
/// ```no_run
/// let settings = wasm_pool_guest::read_at_most("settings.toml", 64 << 10);
/// ```
///
/// # Errors
/// Those of [`read`]; [`ErrorCode::TooLarge`] if the file has more bytes, or grows beyond them
/// meanwhile.
pub fn read_at_most(path: &str, most: usize) -> Result<Vec<u8>, ErrorCode> {
    let files::Opened { file, metadata } = files::open(path)?;
    let size = usize::try_from(metadata.size).map_err(|_| ErrorCode::TooLarge)?;
    if size > most {
        return Err(ErrorCode::TooLarge);
    }
    // Nearly always the first piece is the whole file, and the second the end.
    let mut bytes = file.read(wanted(size))?;
    loop {
        let missing = size.saturating_sub(bytes.len());
        let piece = file.read(wanted(missing.max(MORE_BYTES)))?;
        if piece.is_empty() {
            return Ok(bytes);
        }
        if bytes.len() + piece.len() > most {
            return Err(ErrorCode::TooLarge);
        }
        bytes
            .try_reserve_exact(missing.max(piece.len()))
            .map_err(|_| ErrorCode::TooLarge)?;
        bytes.extend(piece);
    }
}

/// The contract's number; the host gives what it sees fit.
fn wanted(nbytes: usize) -> u32 {
    u32::try_from(nbytes).unwrap_or(u32::MAX)
}
