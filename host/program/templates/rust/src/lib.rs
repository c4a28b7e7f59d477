//! A worker: one function from a request to its response.

use wasm_pool_guest::{Request, Response, handler};

handler!(answer);

fn answer(request: Request) -> Response {
    match request.path.as_str() {
        "/" => {
            let name = request.decoded_parameter("name");
            let name = name.as_deref().unwrap_or("you");
            Response::text(200, format!("hello, {name}\n"))
        }
        _ => Response::text(404, "There is nothing here.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `cargo test` runs these on your machine, without wasm and without a host.

    #[test]
    fn it_says_hello() {
        let response = answer(Request::new("GET", "/?name=J%C3%B6rg"));
        assert_eq!(response.status, 200);
        assert_eq!(response.body.bytes(), Some("hello, Jörg\n".as_bytes()));
    }

    #[test]
    fn it_knows_one_page() {
        assert_eq!(answer(Request::new("GET", "/other")).status, 404);
    }
}
