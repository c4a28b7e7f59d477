//! A component of `wasi:http` 0.3: says hello, and sends a body back in capitals while it arrives.

use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::wit_bindgen::{StreamReader, StreamResult, StreamWriter, spawn_local};
use wasip3::{wit_future, wit_stream};

/// What is read at a time.
const PIECE_BYTES: usize = 16 << 10;

wasip3::http::service::export!(Capitals);

struct Capitals;

impl Guest for Capitals {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        let (output, body) = wit_stream::new();
        let status = match (request.get_method(), path.as_str()) {
            (Method::Get, "/") => {
                spawn_local(write(output, b"hello from wasi:http 0.3\n"));
                200
            }
            (Method::Post, "/capitals") => {
                let (_, received) = wit_future::new(|| Ok(()));
                let (input, _trailers) = Request::consume_body(request, received);
                spawn_local(copy(input, output));
                200
            }
            _ => {
                spawn_local(write(output, b"GET / or POST /capitals\n"));
                404
            }
        };
        let fields = Fields::new();
        let _refused = fields.append("content-type", b"text/plain; charset=utf-8");
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _sent) = Response::new(fields, Some(body), trailers);
        let _invalid = response.set_status_code(status);
        // The host sends the head from here on, and the body as the task above writes it.
        Ok(response)
    }
}

async fn copy(mut input: StreamReader<u8>, mut output: StreamWriter<u8>) {
    loop {
        let (outcome, mut piece) = input.read(Vec::with_capacity(PIECE_BYTES)).await;
        piece.make_ascii_uppercase();
        let is_end = matches!(outcome, StreamResult::Dropped | StreamResult::Cancelled);
        // What the host does not take, the client does not want: it has left.
        if !output.write_all(piece).await.is_empty() || is_end {
            return;
        }
    }
}

async fn write(mut output: StreamWriter<u8>, text: &[u8]) {
    let _not_taken = output.write_all(text.to_vec()).await;
}
