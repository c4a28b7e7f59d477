//! The default worker: a static file server. All that it does is in the library that it is made of, so that a worker
//! of one's own can do it too.

#![cfg_attr(target_family = "wasm", no_std)]

use wasm_pool_guest::{Request, Response, freestanding, handler};

// Without `std` nothing of WASI is imported: instances are smaller, and start in half of the time.
freestanding!();
handler!(serve);

fn serve(request: Request) -> Response {
    wasm_pool_static::answer(&request)
}
