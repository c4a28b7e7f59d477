//! What `wasmtime serve` runs in the comparison: a `wasi:http` component that opens, asks, reads
//! and closes the file that the path names, and answers with it. It calls WASI without the standard
//! library in between, and keeps its folder for the next request, if the host lets it live so long:
//! nothing here is slower than it need be.

use std::cell::OnceCell;

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// What is read at a time; as much as the host takes of a body in one piece.
const PIECE_BYTES: u64 = 1024 * 1024;

wasip2::http::proxy::export!(Files);

struct Files;

impl Guest for Files {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match open(path.trim_start_matches('/')) {
            Ok((file, size)) => answer(&file, size, out),
            Err(_) => refuse(404, out),
        }
    }
}

fn open(path: &str) -> Result<(Descriptor, u64), ErrorCode> {
    thread_local! {
        /// The first folder that the host grants; the only one.
        static ROOT: OnceCell<Option<Descriptor>> = const { OnceCell::new() };
    }
    ROOT.with(|root| {
        let first = || preopens::get_directories().into_iter().next();
        let root = root.get_or_init(|| first().map(|(folder, _name)| folder));
        let root = root.as_ref().ok_or(ErrorCode::NoEntry)?;
        let none = PathFlags::empty();
        let file = root.open_at(none, path, OpenFlags::empty(), DescriptorFlags::READ)?;
        let size = file.stat()?.size;
        Ok((file, size))
    })
}

fn answer(file: &Descriptor, size: u64, out: ResponseOutparam) {
    let fields = Fields::new();
    let length = size.to_string().into_bytes();
    let is_fine = fields.set("content-length", &[length]).is_ok();
    let response = OutgoingResponse::new(fields);
    let (true, Ok(body)) = (is_fine, response.body()) else {
        return refuse(500, out);
    };
    ResponseOutparam::set(out, Ok(response));
    let Ok(stream) = body.write() else { return };
    // The status is sent: a client learns from a body that ends too early that something went
    // wrong.
    if copy(file, size, &stream).is_ok() {
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}

/// As much as the stream has room for, until all is written.
fn copy(file: &Descriptor, size: u64, stream: &OutputStream) -> Result<(), StreamError> {
    let mut at = 0;
    while at < size {
        let room = stream.check_write()?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let read = file.read(room.min(PIECE_BYTES), at);
        let (bytes, _is_end) = read.map_err(|_| StreamError::Closed)?;
        if bytes.is_empty() {
            return Err(StreamError::Closed); // it has become shorter
        }
        stream.write(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

fn refuse(status: u16, out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let _ = response.set_status_code(status);
    ResponseOutparam::set(out, Ok(response));
}
