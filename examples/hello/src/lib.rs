//! The smallest worker: one function.

use wasm_pool_guest::{Request, Response, handler};

handler!(hello);

fn hello(request: Request) -> Response {
    let (client, path) = (request.client, request.path);
    Response::text(200, format!("hello {client}, you asked for {path}\n"))
}
