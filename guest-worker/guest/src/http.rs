//! Helpers for reading requests and writing responses.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use percent_encoding::percent_decode_str;

use crate::{Body, Header, Request, Response, Scheme};

impl Request {
    /// A request as a client may send it, for tests. The part of `target` after the first `?`
    /// is its query.
    ///
    /// ```
    /// use wasm_pool_guest::Request;
    ///
    /// let request = Request::new("POST", "/orders?id=7")
    ///     .with_header("content-type", "text/plain")
    ///     .with_body("two of each");
    /// assert_eq!((request.path.as_str(), request.query.as_deref()), ("/orders", Some("id=7")));
    /// assert_eq!(request.header("content-type"), Some("text/plain"));
    /// ```
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.into())),
            None => (target, None),
        };
        Self {
            id: 1,
            method: method.into(),
            path: path.into(),
            query,
            headers: Vec::new(),
            body: Vec::new(),
            client: "127.0.0.1:1".into(),
            scheme: Scheme::Http,
        }
    }

    /// This request with one more field. Give `name` in lower case, as the host does.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(field(name, value));
        self
    }

    /// This request with these bytes as its body.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = bytes.into();
        self
    }

    /// The first field of this name, if its value is text. Give `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// The value of each field of this name that is text, in order. Give `name` in lower case.
    pub fn headers_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |field| field.name == name)
            .filter_map(|field| core::str::from_utf8(&field.value).ok())
    }

    /// The body, if it is UTF-8.
    ///
    /// ```
    /// use wasm_pool_guest::Request;
    ///
    /// let request = |body: &[u8]| Request::new("POST", "/").with_body(body);
    /// assert_eq!(request("grüezi".as_bytes()).text(), Some("grüezi"));
    /// assert_eq!(request(b"").text(), Some(""));
    /// assert_eq!(request(b"\xff").text(), None);
    /// ```
    pub fn text(&self) -> Option<&str> {
        core::str::from_utf8(&self.body).ok()
    }

    /// The path, decoded: `/a b` for `/a%20b`. None if the decoded path is not UTF-8.
    ///
    /// Decoding turns `%2F` into a slash like any other, and `%2e%2e` into `..`. For paths of files
    /// use `wasm-pool-static`, which handles both.
    ///
    /// ```
    /// use wasm_pool_guest::Request;
    ///
    /// let path = |target| Some(Request::new("GET", target).decoded_path()?.into_owned());
    /// assert_eq!(path("/caf%C3%A9?x=%20").as_deref(), Some("/café"));
    /// assert_eq!(path("/100%").as_deref(), Some("/100%")); // not an escape
    /// assert_eq!(path("/%ff"), None);
    /// ```
    pub fn decoded_path(&self) -> Option<Cow<'_, str>> {
        percent_decode_str(&self.path).decode_utf8().ok()
    }

    /// `value` of the first `name=value` in the query, both as they were sent: still
    /// percent-encoded.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.pairs()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// `value` of the first `name=value` in the query, both decoded as forms send them: `+` is a
    /// space. An invalid escape stands for itself, and bytes that are not UTF-8 become U+FFFD.
    ///
    /// ```
    /// use wasm_pool_guest::Request;
    ///
    /// let request = Request::new("GET", "/search?q=caf%C3%A9+au+lait&100%=x");
    /// assert_eq!(request.decoded_parameter("q").as_deref(), Some("café au lait"));
    /// assert_eq!(request.decoded_parameter("100%").as_deref(), Some("x"));
    /// assert_eq!(request.parameter("q"), Some("caf%C3%A9+au+lait"));
    /// ```
    pub fn decoded_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.pairs()
            .find_map(|(key, value)| (form_decoded(key) == name).then(|| form_decoded(value)))
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('='))
    }
}

impl Response {
    /// A response of this status without fields or body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Bytes(Vec::new()),
        }
    }

    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::of_type(status, "text/plain; charset=utf-8", text.into())
    }

    /// A page in HTML. Text from elsewhere must already be escaped in it.
    ///
    /// ```
    /// use wasm_pool_guest::Response;
    ///
    /// let response = Response::html(200, "<!doctype html><title>hello</title>");
    /// assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    /// ```
    pub fn html(status: u16, html: impl Into<String>) -> Self {
        Self::of_type(status, "text/html; charset=utf-8", html.into())
    }

    /// JSON. The text must be JSON already; with the feature `json`, `Response::json_of` makes it
    /// of a value.
    ///
    /// ```
    /// use wasm_pool_guest::Response;
    ///
    /// let response = Response::json(200, r#"{"answer":42}"#);
    /// assert_eq!(response.header("content-type"), Some("application/json"));
    /// assert_eq!(response.body.bytes(), Some(r#"{"answer":42}"#.as_bytes()));
    /// ```
    pub fn json(status: u16, json: impl Into<String>) -> Self {
        Self::of_type(status, "application/json", json.into())
    }

    fn of_type(status: u16, content_type: &str, text: String) -> Self {
        Self::new(status)
            .with_header("content-type", content_type)
            .with_body(text)
    }

    /// This response with one more field.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(field(name, value));
        self
    }

    /// This response with these bytes as its body.
    pub fn with_body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// The first field of this name, in any case, if its value is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .find_map(|field| core::str::from_utf8(&field.value).ok())
    }
}

impl Body {
    /// The bytes; none if the body is a file.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::File(_) => None,
        }
    }
}

fn field(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Header {
    let (name, value) = (name.into(), value.into());
    Header { name, value }
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
    } else {
        percent_decode_str(text).decode_utf8_lossy()
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;

    use super::*;

    #[test]
    fn a_header_is_the_first_text_of_its_name() {
        let fields: [(&str, &[u8]); 4] = [("a", b"1"), ("b", b"\xff"), ("b", b"2"), ("a", b"3")];
        let request = fields
            .iter()
            .fold(Request::new("GET", "/"), |request, (name, value)| {
                request.with_header(*name, *value)
            });
        assert_eq!(request.header("a"), Some("1"));
        assert_eq!(request.header("b"), Some("2"));
        assert_eq!(request.header("c"), None);
        assert_eq!(request.headers_named("a").collect::<Vec<_>>(), ["1", "3"]);
    }

    #[test]
    fn a_parameter_is_the_first_of_its_name() {
        let parameter = |target, name| {
            Request::new("GET", target)
                .parameter(name)
                .map(str::to_owned)
        };
        assert_eq!(parameter("/", "n"), None);
        assert_eq!(parameter("/?", "n"), None);
        assert_eq!(parameter("/?n", "n"), None);
        assert_eq!(parameter("/?n=", "n"), Some("".into()));
        assert_eq!(parameter("/?m=1&n=2=3&n=4", "n"), Some("2=3".into()));
        assert_eq!(parameter("/?n=1%202", "n"), Some("1%202".into()));
    }

    #[test]
    fn a_parameter_is_decoded_as_forms_have_it() {
        let parameter = |target, name| {
            let request = Request::new("GET", target);
            request.decoded_parameter(name).map(Cow::into_owned)
        };
        assert_eq!(parameter("/", "n"), None);
        assert_eq!(parameter("/?n", "n"), None);
        assert_eq!(parameter("/?n=a+b%2Bc", "n"), Some("a b+c".into()));
        assert_eq!(parameter("/?a+b%3D=1", "a b="), Some("1".into()));
        assert_eq!(parameter("/?n=1%26m=2", "n"), Some("1&m=2".into()));
        assert_eq!(parameter("/?n=%zz%", "n"), Some("%zz%".into()));
        assert_eq!(parameter("/?n=%ff", "n"), Some("\u{fffd}".into()));
        assert_eq!(parameter("/?n=?", "n"), Some("?".into()));
    }
}
