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
            let body = count(Request::new("GET", "/")).body;
            body.bytes().map(<[u8]>::to_vec)
        };
        let said = |text: &str| Some(text.into());
        assert_eq!(text(), said("this process has answered 1 request\n"));
        assert_eq!(text(), said("this process has answered 2 requests\n"));
    }
}
