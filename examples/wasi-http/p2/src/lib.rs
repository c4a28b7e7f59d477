//! A component of `wasi:http` 0.2: says hello, and sends a body back in capitals while it arrives.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// What is read at a time, and what `blocking_write_and_flush` takes at most.
const PIECE_BYTES: u64 = 4096;

wasip2::http::proxy::export!(Capitals);

struct Capitals;

impl Guest for Capitals {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let outcome = match (request.method(), path.as_str()) {
            (Method::Get, "/") => answer(out, 200, |stream| {
                write(stream, b"hello from wasi:http 0.2\n")
            }),
            (Method::Post, "/capitals") => capitals(request, out),
            _ => answer(out, 404, |stream| {
                write(stream, b"GET / or POST /capitals\n")
            }),
        };
        // The head is sent. A body that ends too early tells the client that something went wrong.
        if let Err(error) = outcome {
            eprintln!("the body is not complete: {error}");
        }
    }
}

fn capitals(request: IncomingRequest, out: ResponseOutparam) -> Result<(), StreamError> {
    let Ok(body) = request.consume() else {
        return answer(out, 400, |stream| write(stream, b"no body\n"));
    };
    let outcome = match body.stream() {
        Ok(input) => answer(out, 200, |output| copy(&input, output)),
        Err(()) => answer(out, 400, |stream| write(stream, b"no body\n")),
    };
    let _trailers = IncomingBody::finish(body);
    outcome
}

fn copy(input: &InputStream, output: &OutputStream) -> Result<(), StreamError> {
    loop {
        match input.blocking_read(PIECE_BYTES) {
            Ok(piece) => write(output, &piece.to_ascii_uppercase())?,
            Err(StreamError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes
        .chunks(PIECE_BYTES as usize)
        .try_for_each(|piece| stream.blocking_write_and_flush(piece))
}

/// Sends the head, and then the body that `fill` writes.
fn answer(
    out: ResponseOutparam,
    status: u16,
    fill: impl FnOnce(&OutputStream) -> Result<(), StreamError>,
) -> Result<(), StreamError> {
    let fields = Fields::new();
    let _refused = fields.append("content-type", b"text/plain; charset=utf-8");
    let response = OutgoingResponse::new(fields);
    let _invalid = response.set_status_code(status);
    let Ok(body) = response.body() else {
        return Err(StreamError::Closed);
    };
    // The host sends the head from here on, and the body as it is written.
    ResponseOutparam::set(out, Ok(response));
    {
        let stream = body.write().map_err(|()| StreamError::Closed)?;
        fill(&stream)?;
    }
    // Without this the host takes the body for incomplete.
    OutgoingBody::finish(body, None).map_err(|_| StreamError::Closed)
}
