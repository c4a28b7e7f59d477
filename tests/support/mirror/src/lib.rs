//! A mirror: it shows the requests that arrive, and answers or prints the bytes that it is told to.
//! Tests use it to see how the host treats malformed bytes.
//!
//! The request's field `x-mirror` selects the use of its body:
//!
//! - `respond`: it is a response, as [`decoded`] reads it;
//! - `print`: it is printed, to standard output and to standard error;
//! - without the field, the response shows the request: method, path, `?` and query, and the `host`
//!   fields, a line each. The field `x-mirror-method` says the method once more, for answers that
//!   have no body.

use std::io::Write;

use wasm_pool_guest::{Header, Request, Response, handler};

handler!(mirror);

fn mirror(request: Request) -> Response {
    match request.header("x-mirror") {
        Some("respond") => {
            decoded(&request.body).unwrap_or_else(|| Response::text(400, "too short"))
        }
        Some("print") => {
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            let _closed = out.write_all(&request.body).and_then(|()| out.flush());
            let _closed = err.write_all(&request.body);
            Response::text(200, "printed")
        }
        Some(_) | None => shown(&request),
    }
}

fn shown(request: &Request) -> Response {
    let query = request.query.as_ref().map(|query| format!("?{query}"));
    let hosts: Vec<&str> = request.headers_named("host").collect();
    let lines = [
        &request.method,
        &request.path,
        &query.unwrap_or_default(),
        &hosts.join("\n"),
    ];
    let text = lines.map(String::as_str).join("\n");
    Response::text(200, text).with_header("x-mirror-method", request.method.as_str())
}

/// Status, two bytes; the number of fields, one byte; of each field the length of its name, its
/// name, the length of its value, its value, with two bytes a length; then the body. Numbers are
/// little-endian.
fn decoded(mut bytes: &[u8]) -> Option<Response> {
    let mut take = |count: usize| {
        let (taken, rest) = bytes.split_at_checked(count)?;
        bytes = rest;
        Some(taken)
    };
    let number = |bytes: &[u8]| Some(u16::from_le_bytes(bytes.try_into().ok()?));
    let mut response = Response::new(number(take(2)?)?);
    for _ in 0..*take(1)?.first()? {
        let name = number(take(2)?)?;
        let name = String::from_utf8_lossy(take(name.into())?).into_owned();
        let value = number(take(2)?)?;
        let value = take(value.into())?.to_vec();
        response.headers.push(Header { name, value });
    }
    Some(response.with_body(bytes))
}
