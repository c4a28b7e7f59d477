//! A site with an API: below `/api/` this worker answers by itself, and everything else is a file.

use wasm_pool_guest::files::ErrorCode;
use wasm_pool_guest::{Request, Response, handler};

/// A larger file is not read: all of it would have to fit into this process's memory.
const MAX_FILE_BYTES: usize = 16 << 20;

handler!(answer);

fn answer(request: Request) -> Response {
    match request.path.as_str() {
        "/api/lines" => lines(&request),
        path if path.starts_with("/api/") => error(404, "no such call"),
        _ => wasm_pool_static::answer(&request),
    }
}

/// How many lines a file has.
fn lines(request: &Request) -> Response {
    let Some(file) = request.decoded_parameter("file") else {
        return error(400, "which file? ?file=NAME");
    };
    // What has no URL isn't counted either.
    if file.split('/').any(|name| name.starts_with('.')) {
        return error(404, "no such file");
    }
    match wasm_pool_guest::read_at_most(&file, MAX_FILE_BYTES) {
        Ok(bytes) => {
            let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
            Response::json(200, format!("{{\"lines\":{lines}}}\n"))
        }
        Err(ErrorCode::TooLarge) => error(413, "too large to count"),
        Err(_) => error(404, "no such file"),
    }
}

fn error(status: u16, why: &str) -> Response {
    Response::json(status, format!("{{\"error\":\"{why}\"}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test --package api` runs these, without a host.

    #[test]
    fn what_is_no_call_is_said_in_json() {
        let response = answer(Request::new("GET", "/api/words"));
        assert_eq!(response.status, 404);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let body: &[u8] = b"{\"error\":\"no such call\"}\n";
        assert_eq!(response.body.bytes(), Some(body));
    }

    #[test]
    fn a_file_is_needed_and_not_a_hidden_one() {
        for (target, status) in [
            ("/api/lines", 400),
            ("/api/lines?file=.env", 404),
            ("/api/lines?file=..%2Fsecret", 404),
        ] {
            assert_eq!(
                answer(Request::new("GET", target)).status,
                status,
                "{target}"
            );
        }
    }
}
