//! A worker's answer to a request: the file that the path names. Two paths name no file, and show
//! the workers themselves.

use wasm_pool_guest::files::{self, ErrorCode, Opened};
use wasm_pool_guest::{Body, FileSlice, Request, Response, mailbox};

/// A worker reads a file of up to this many bytes, and sends them with the response. It gives a
/// larger file away, and the host sends that piece by piece: this takes no memory here.
const READ_WHOLE: u64 = 64 * 1024;

pub(crate) fn answer(request: &Request) -> Response {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Response::text(405, "Only GET and HEAD are understood.\n")
            .with_header("allow", "GET, HEAD");
    }
    match request.path.as_str() {
        "/who" => Response::text(200, format!("process {}\n", mailbox::self_())),
        "/crash" => std::process::abort(), // a trap, as any bug would be
        path => send(path.trim_start_matches('/')),
    }
}

/// Sends what `name` names. The path is not decoded: plain names only.
fn send(name: &str) -> Response {
    let index = name.is_empty() || name.ends_with('/');
    let name = format!("{name}{}", if index { "index.html" } else { "" });
    match files::open(&name).and_then(read) {
        Ok(body) => Response {
            body,
            ..Response::new(200).with_header("content-type", content_type(&name))
        },
        // From `numbers/` the links in its index lead where they should, from `numbers` they don't.
        Err(ErrorCode::IsDirectory) => {
            Response::text(308, "This is a folder.\n").with_header("location", format!("/{name}/"))
        }
        Err(error) => refuse(error),
    }
}

fn read(opened: Opened) -> Result<Body, ErrorCode> {
    let Opened { file, metadata } = opened;
    let length = metadata.size;
    if length > READ_WHOLE {
        let offset = 0;
        return Ok(Body::File(FileSlice {
            file,
            offset,
            length,
        }));
    }
    // Nearly always the first read gives all, and no second is needed to see the end.
    let mut bytes = file.read(length as u32)?;
    while (bytes.len() as u64) < length {
        match file.read(length as u32 - bytes.len() as u32)? {
            end if end.is_empty() => break, // it is shorter by now
            more => bytes.extend(more),
        }
    }
    Ok(Body::Bytes(bytes))
}

fn refuse(error: ErrorCode) -> Response {
    match error {
        ErrorCode::Access => Response::text(403, "That is not for you.\n"),
        ErrorCode::NoEntry
        | ErrorCode::IsDirectory
        | ErrorCode::NotDirectory
        | ErrorCode::NotSupported
        | ErrorCode::InvalidPath
        | ErrorCode::NameTooLong
        | ErrorCode::Loop => Response::text(404, "There is no such file.\n"),
        ErrorCode::TooManyOpen | ErrorCode::TooLarge | ErrorCode::Io => {
            Response::text(500, "The file can't be read.\n")
        }
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_type() {
        assert_eq!(content_type("index.html"), "text/html; charset=utf-8");
        assert_eq!(content_type("a.css/mark.svg"), "image/svg+xml");
        assert_eq!(content_type("style.css.gz"), "application/octet-stream");
        assert_eq!(content_type("html"), "application/octet-stream");
    }

    #[test]
    fn only_reading_is_understood() {
        let request = Request::new("POST", "/crash");
        assert_eq!(answer(&request).status, 405);
    }
}
