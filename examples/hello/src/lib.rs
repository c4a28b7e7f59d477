//! The smallest worker: one function.

use wasm_pool_guest::{Request, Response, handler};

handler!(hello);

fn hello(request: Request) -> Response {
    Response::text(200, format!("hello, you asked for {}\n", request.path))
}
