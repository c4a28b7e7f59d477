//! The default worker: a static file server. All of it is in the library `wasm-pool-static`, so
//! that other workers can serve files too.

#![cfg_attr(target_family = "wasm", no_std)]

use wasm_pool_guest::{Request, Response, freestanding, handler};

// Without `std` nothing of WASI is imported: instances are smaller, and start in half of the time.
freestanding!();
handler!(serve);

fn serve(request: Request) -> Response {
    wasm_pool_static::answer(&request)
}
