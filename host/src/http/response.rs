//! From a guest's response to hyper's. A guest may answer anything; what is not HTTP is the guest's failure.

use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::{Response, StatusCode};

use super::Sent;
use super::body::ResponseBody;
use crate::message::{self, Body, FileSlice};
use crate::sandbox::Failure;
use crate::steps::Steps;

/// Fields of one response. More would not fit what clients take.
const MAX_HEADERS: usize = 256;

/// What they may weigh together, names and values, in bytes. It is four times what requests may have, and bounds
/// the work that judging them is: no deadline interrupts it.
const MAX_HEAD_BYTES: usize = 256 << 10;

/// These speak of the connection, and the connection is the host's (RFC 9110, section 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

pub(super) async fn send(
    response: message::Response,
    is_head: bool,
    steps: &Steps,
) -> Result<Sent, Failure> {
    let status = status(response.status)?;
    let headers = headers(response.headers)?;
    let length = match &response.body {
        Body::Bytes(bytes) => bytes.len() as u64,
        Body::File(slice) => checked_length(slice)?,
    };
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    if bodiless && length > 0 {
        return Err(malformed(format!("a body with status {status}")));
    }
    let stated = stated_length(&headers)?;
    // The answer to HEAD, and 304, may state the length of a body that is not there.
    let may_state_other = (is_head || status == StatusCode::NOT_MODIFIED) && length == 0;
    if stated.is_some_and(|stated| stated != length && !may_state_other) {
        return Err(malformed(format!(
            "a content-length other than the body's {length} bytes"
        )));
    }
    let body = match response.body {
        _ if is_head => ResponseBody::absent(),
        Body::Bytes(bytes) => ResponseBody::from(Bytes::from(bytes)),
        Body::File(slice) => ResponseBody::file(slice, steps).await?,
    };
    let mut sent = Response::new(body);
    *sent.status_mut() = status;
    *sent.headers_mut() = headers;
    if is_head && stated.is_none() && !bodiless {
        sent.headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(sent)
}

/// A final status (RFC 9110, section 15): interim ones are not a response.
fn status(status: u16) -> Result<StatusCode, Failure> {
    match StatusCode::from_u16(status) {
        Ok(code) if (200..600).contains(&status) => Ok(code),
        _ => Err(malformed(format!(
            "status {status}, which is not in 200–599"
        ))),
    }
}

fn headers(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, Failure> {
    if fields.len() > MAX_HEADERS {
        return Err(malformed(format!(
            "{} header fields, more than {MAX_HEADERS}",
            fields.len()
        )));
    }
    let weight = |(name, value): &(String, Vec<u8>)| name.len() + value.len();
    let bytes: usize = fields.iter().map(weight).sum();
    if bytes > MAX_HEAD_BYTES {
        return Err(malformed(format!(
            "a head of {bytes} bytes, more than {MAX_HEAD_BYTES}"
        )));
    }
    let mut headers = HeaderMap::with_capacity(fields.len() + 1); // and the date
    for (name, value) in fields {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return Err(malformed(format!("a header field named {}", shown(&name))));
        };
        if OF_THE_CONNECTION.contains(&name) {
            return Err(malformed(format!("a {name} field, which is the host's")));
        }
        let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) else {
            return Err(malformed(format!(
                "a {} field whose value has control characters",
                shown(name.as_str())
            )));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// As much of a name as the log needs. It is cut before it is escaped, which makes it up to ten times longer.
fn shown(name: &str) -> String {
    const SHOWN_BYTES: usize = 64;
    let end = name.floor_char_boundary(SHOWN_BYTES);
    let rest = if end < name.len() { "…" } else { "" };
    format!("{:?}{rest}", &name[..end])
}

fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
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

fn checked_length(slice: &FileSlice) -> Result<u64, Failure> {
    let size = slice
        .file
        .stat()
        .map_err(|error| malformed(format!("a file that fails: {error:?}")))?
        .size;
    match slice.offset.checked_add(slice.length) {
        Some(end) if end <= size => Ok(slice.length),
        _ => Err(malformed(format!(
            "bytes {}+{} of a file that has {size}",
            slice.offset, slice.length
        ))),
    }
}

fn malformed(what: String) -> Failure {
    Failure::Response(format!("it answered with {what}"))
}
