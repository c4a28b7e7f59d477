//! Bodies in JSON that are values of Rust, by `serde`.

use alloc::string::String;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Request, Response};

impl Request {
    /// The body, read as JSON. The field `content-type` is not looked at: clients forget it.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use wasm_pool_guest::{Request, Response};
    ///
    /// #[derive(Deserialize)]
    /// struct Order {
    ///     pieces: u32,
    /// }
    ///
    /// fn order(request: Request) -> Response {
    ///     match request.json::<Order>() {
    ///         Ok(order) => Response::text(200, format!("{} pieces\n", order.pieces)),
    ///         Err(error) => Response::text(400, format!("not an order: {error}\n")),
    ///     }
    /// }
    ///
    /// let answer = |body| order(Request::new("POST", "/orders").with_body(body));
    /// assert_eq!(answer(r#"{"pieces":2}"#).body.bytes(), Some(b"2 pieces\n".as_slice()));
    /// assert_eq!(answer(r#"{"pieces":-2}"#).status, 400);
    /// ```
    ///
    /// # Errors
    /// If the body is not JSON, or not of this type. The error says where, and is fit for clients.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.body)
    }
}

impl Response {
    /// A value, written as JSON.
    ///
    /// ```
    /// use serde::Serialize;
    /// use wasm_pool_guest::Response;
    ///
    /// #[derive(Serialize)]
    /// struct Stock {
    ///     left: u32,
    /// }
    ///
    /// let response = Response::json_of(200, &Stock { left: 7 })?;
    /// assert_eq!(response.body.bytes(), Some(r#"{"left":7}"#.as_bytes()));
    /// assert_eq!(response.header("content-type"), Some("application/json"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the value has no form in JSON: a map whose keys are no text, for one.
    pub fn json_of<T: Serialize + ?Sized>(status: u16, value: &T) -> serde_json::Result<Self> {
        let text: String = serde_json::to_string(value)?;
        Ok(Self::json(status, text))
    }
}
