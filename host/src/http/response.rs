//! Converts a guest's response to hyper's. A guest may answer anything. A response that is not HTTP
//! is the guest's failure.

use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::{Response, StatusCode};

use super::Sent;
use super::body::ResponseBody;
use crate::body::{Body, FileSlice};
use crate::guests::Unsendable;
use crate::message;
use crate::steps::Steps;
use crate::text;

/// The most fields of one response. Clients take no more.
const MAX_HEADERS: usize = 256;

/// Fields that belong to the connection, and so to the host (RFC 9110, section 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Converts a guest's response.
///
/// # Errors
/// [`Unsendable::Malformed`] if the response is not HTTP; [`Unsendable::Disk`] if its file can't be
/// read.
pub(super) async fn judge(
    response: message::Response,
    is_head: bool,
    steps: &Steps,
) -> Result<Sent, Unsendable> {
    let status = status(response.status)?;
    let headers = headers(response.headers)?;
    let length = match &response.body {
        Body::Bytes(bytes) => Some(bytes.len() as u64),
        Body::File(slice) => Some(checked_length(slice)?),
        Body::Stream(stream) => stream.length(),
    };
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if bodiless && length != Some(0) {
        return Err(malformed(format!("a body with status {status}")));
    }
    let stated = stated_length(&headers)?;
    // A response to HEAD, and a 304, may state the length of an absent body.
    let may_state_other = (is_head || status == StatusCode::NOT_MODIFIED) && length == Some(0);
    if let (Some(stated), Some(length)) = (stated, length)
        && stated != length
        && !may_state_other
    {
        return Err(malformed(format!(
            "a content-length other than the body's {length} bytes"
        )));
    }
    let body = if is_head {
        ResponseBody::absent()
    } else {
        let body = ResponseBody::of(response.body, steps).await;
        body.map_err(|_logged| Unsendable::Disk)?
    };
    let mut sent = Response::new(body);
    *sent.status_mut() = status;
    *sent.headers_mut() = headers;
    if let (true, None, false, Some(length)) = (is_head, stated, bodiless, length) {
        sent.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(sent)
}

/// A final status (RFC 9110, section 15): interim ones are not a response.
fn status(status: u16) -> Result<StatusCode, Unsendable> {
    match StatusCode::from_u16(status) {
        Ok(code) if (200..600).contains(&status) => Ok(code),
        _ => Err(malformed(format!(
            "status {status}, which is not in 200–599"
        ))),
    }
}

fn headers(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, Unsendable> {
    if fields.len() > MAX_HEADERS {
        return Err(malformed(format!(
            "{} header fields, more than {MAX_HEADERS}",
            fields.len()
        )));
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + 1); // and the date
    for (name, value) in fields {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(malformed(format!(
                "a header field named {}",
                text::quoted(&name)
            )));
        };
        if OF_THE_CONNECTION.contains(&name) {
            return Err(malformed(format!("a {name} field, which is the host's")));
        }
        let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) else {
            return Err(malformed(format!(
                "a {} field whose value has control characters",
                text::quoted(name.as_str())
            )));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, Unsendable> {
    let mut stated = headers.get_all(CONTENT_LENGTH).iter();
    match (stated.next(), stated.next()) {
        (None, _) => Ok(None),
        (Some(length), None) => {
            let digits = length
                .to_str()
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            digits
                .and_then(|digits| digits.parse().ok())
                .map(Some)
                .ok_or_else(|| malformed("a content-length that is not a number".into()))
        }
        (Some(_), Some(_)) => Err(malformed("two content-length fields".into())),
    }
}

fn checked_length(slice: &FileSlice) -> Result<u64, Unsendable> {
    let size = slice.file.stat().map_err(|_logged| Unsendable::Disk)?.size;
    match slice.offset.checked_add(slice.length) {
        Some(end) if end <= size => Ok(slice.length),
        _ => Err(malformed(format!(
            "bytes {}+{} of a file that has {size}",
            slice.offset, slice.length
        ))),
    }
}

fn malformed(what: String) -> Unsendable {
    Unsendable::Malformed(format!("it answered with {what}"))
}
