//! A worker with a memory: what one process remembers, no other process knows.

use std::sync::atomic::{AtomicU64, Ordering};

use wasm_pool_guest::{Request, Response, handler};

/// An ordinary global. There is one in each process, and none that two of them share.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

handler!(count);

fn count(_: Request) -> Response {
    let answered = ANSWERED.fetch_add(1, Ordering::Relaxed) + 1;
    let requests = if answered == 1 { "request" } else { "requests" };
    Response::text(
        200,
        format!("this process has answered {answered} {requests}\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts() {
        let text = || {
            let request = Request {
                id: 1,
                method: "GET".into(),
                path: "/".into(),
                query: None,
                headers: Vec::new(),
                body: Vec::new(),
                client: "127.0.0.1:1".into(),
            };
            match count(request).body {
                wasm_pool_guest::Body::Bytes(bytes) => bytes,
                wasm_pool_guest::Body::File(_) => unreachable!("the counter has no files"),
            }
        };
        assert_eq!(text(), b"this process has answered 1 request\n");
        assert_eq!(text(), b"this process has answered 2 requests\n");
    }
}
