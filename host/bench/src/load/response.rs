//! The *head* of a response. It tells the length of the body, and whether the connection stays
//! open.

use std::mem::MaybeUninit;

/// The largest head that is read. Servers don't accept larger heads from clients, either.
const MAX_BYTES: usize = 64 << 10;

/// The most fields: the host lets a worker have 256 fields, and adds some itself.
const MAX_FIELDS: usize = 256 + 8;

#[derive(Clone, Copy)]
pub(crate) struct Head {
    /// The length of the head itself.
    pub(crate) bytes: usize,
    pub(crate) body_bytes: usize,
    /// Whether the status is 200.
    pub(crate) is_ok: bool,
    /// Whether the server closes the connection after its answer.
    pub(crate) closes: bool,
}

impl Head {
    /// Adds new bytes to the head so far, and parses it. `None` while the head is incomplete.
    ///
    /// # Errors
    /// A text about the head's fault that continues "a response that is".
    pub(crate) fn read(so_far: &mut Vec<u8>, bytes: &[u8]) -> Result<Option<Self>, String> {
        let room = MAX_BYTES.saturating_sub(so_far.len());
        so_far.extend_from_slice(&bytes[..bytes.len().min(room)]);
        // Uninitialised: filling this memory would take longer than parsing the few fields.
        let mut fields = [MaybeUninit::uninit(); MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        match parser.parse_response_with_uninit_headers(&mut response, so_far, &mut fields) {
            Ok(httparse::Status::Complete(bytes)) => Self::of(&response, bytes).map(Some),
            Ok(httparse::Status::Partial) if so_far.len() < MAX_BYTES => Ok(None),
            Ok(httparse::Status::Partial) => Err(format!(
                "larger in its head than the {MAX_BYTES} bytes that the bench reads"
            )),
            Err(httparse::Error::TooManyHeaders) => Err(format!(
                "of more fields than the {MAX_FIELDS} that the bench reads"
            )),
            Err(error) => Err(format!("not HTTP ({error})")),
        }
    }

    fn of(response: &httparse::Response<'_, '_>, bytes: usize) -> Result<Self, String> {
        let field = |name: &str| {
            let mut fields = response.headers.iter();
            let field = fields.find(|field| field.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(field.value).ok()
        };
        let length = field("content-length").and_then(|length| length.parse().ok());
        let connection = field("connection");
        let says = |word| connection.is_some_and(|value| value.eq_ignore_ascii_case(word));
        Ok(Self {
            bytes,
            body_bytes: length.ok_or("without a content-length")?,
            is_ok: response.code == Some(200),
            closes: says("close") || (response.version == Some(0) && !says("keep-alive")),
        })
    }
}
