//! Files as the standard library knows them: whatever reads a [`std::io::Read`] reads files of the
//! host's.

use std::io::{Error, ErrorKind, Read, Result};

use crate::files::{ErrorCode, File};

/// Reads the next bytes, and moves the position behind them. Each read is a call of the host's, so
/// read large pieces, or put a `std::io::BufReader` around the file.
///
/// ```no_run
/// use std::io::{BufRead, BufReader};
/// use wasm_pool_guest::files;
///
/// fn first_line(path: &str) -> std::io::Result<Option<String>> {
///     let file = files::open(path)?.file;
///     BufReader::new(file).lines().next().transpose()
/// }
/// # let _ = first_line("words.txt"); // only the host has files
/// ```
impl Read for File {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Read::read(&mut &*self, buffer)
    }
}

/// As for `File` itself: the host holds the position.
impl Read for &File {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if buffer.is_empty() {
            return Ok(0); // an empty piece from the host would mean the end
        }
        // The host gives at most 1 MiB at a time, whatever is asked for.
        let wanted = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let piece = File::read(self, wanted)?;
        let room = buffer
            .get_mut(..piece.len())
            .ok_or(ErrorKind::InvalidData)?;
        room.copy_from_slice(&piece);
        Ok(piece.len())
    }
}

impl From<ErrorCode> for Error {
    /// The standard library's kind of error, with the contract's as its source.
    fn from(code: ErrorCode) -> Self {
        let kind = match code {
            ErrorCode::NoEntry => ErrorKind::NotFound,
            ErrorCode::Access => ErrorKind::PermissionDenied,
            ErrorCode::IsDirectory => ErrorKind::IsADirectory,
            ErrorCode::NotDirectory => ErrorKind::NotADirectory,
            ErrorCode::NotSupported => ErrorKind::Unsupported,
            ErrorCode::InvalidPath | ErrorCode::NameTooLong => ErrorKind::InvalidInput,
            ErrorCode::TooLarge => ErrorKind::FileTooLarge,
            ErrorCode::Loop | ErrorCode::TooManyOpen | ErrorCode::Io => ErrorKind::Other,
        };
        Self::new(kind, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_keep_the_contract_s_word() {
        let error = Error::from(ErrorCode::NoEntry);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let source = error.get_ref().and_then(|source| source.downcast_ref());
        assert_eq!(source, Some(&ErrorCode::NoEntry));
    }
}
