//! Converts a guest's response to hyper's. A guest may answer anything. A response that is not HTTP
//! is the guest's failure.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::{Response, StatusCode};

use super::body::ResponseBody;
use super::{Connection, Sent};
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

/// What matters of a request for the form of its response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) is_http_10: bool,
    /// Whether another host has judged the response, which may be without its body already.
    pub(super) was_judged: bool,
}

/// The head of a response that is HTTP.
struct Head {
    status: StatusCode,
    headers: HeaderMap,
    /// The number of bytes in the body, if known.
    length: Option<u64>,
    /// The length that a field states.
    stated: Option<u64>,
}

/// Converts a guest's response.
///
/// # Errors
/// [`Unsendable::Malformed`] if the response is not HTTP; [`Unsendable::Disk`] if its file can't be
/// read.
pub(super) async fn judge(
    response: message::Response,
    asked: Asked,
    connection: &Arc<Connection>,
    steps: &Steps,
) -> Result<Sent, Unsendable> {
    let message::Response {
        status,
        headers,
        body,
    } = response;
    let mut head = match judge_head(status, headers, &body, asked) {
        Ok(head) => head,
        Err(unsendable) => {
            if let (Body::Stream(stream), Unsendable::Malformed(why)) = (body, &unsendable) {
                stream.reject(why);
            }
            return Err(unsendable);
        }
    };
    let has_none = has_no_body(head.status);
    let adds_length = asked.is_head && !asked.was_judged;
    if let (true, None, false, Some(length)) = (adds_length, head.stated, has_none, head.length) {
        head.headers
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if head.status == StatusCode::NO_CONTENT {
        head.headers.remove(CONTENT_LENGTH); // RFC 9110, section 8.6
    }
    let body = match body {
        Body::Stream(stream) if asked.is_head || has_none => {
            stream.discard();
            ResponseBody::absent()
        }
        Body::Bytes(_) | Body::File(_) if asked.is_head => ResponseBody::absent(),
        Body::Stream(stream) => ResponseBody::streamed(stream, connection, asked.is_http_10),
        Body::Bytes(_) | Body::File(_) => {
            let body = ResponseBody::of(body, steps).await;
            body.map_err(|_logged| Unsendable::Disk)?
        }
    };
    let mut sent = Response::new(body);
    *sent.status_mut() = head.status;
    *sent.headers_mut() = head.headers;
    Ok(sent)
}

fn judge_head(
    code: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: &Body,
    asked: Asked,
) -> Result<Head, Unsendable> {
    let status = status(code)?;
    let (length, is_stream) = match body {
        Body::Bytes(bytes) => (Some(bytes.len() as u64), false),
        Body::File(slice) => (Some(checked_length(slice)?), false),
        Body::Stream(stream) => (stream.length(), true),
    };
    let headers = headers(fields, is_stream || asked.was_judged)?;
    let stated = stated_length(&headers)?;
    // Whoever writes a body piece by piece may not know that nobody wants it.
    let is_discarded = is_stream && (asked.is_head || has_no_body(status));
    if has_no_body(status) && length != Some(0) && !is_discarded {
        return Err(malformed(format!("a body with status {status}")));
    }
    if let (Body::Stream(stream), false) = (body, is_discarded) {
        // It is too early for the client to see only the beginning.
        if let Some(why) = stream.broken() {
            return Err(Unsendable::Malformed(why));
        }
    }
    // A response to HEAD, and a 304, may state the length of an absent body.
    let may_be_absent = asked.is_head || status == StatusCode::NOT_MODIFIED;
    let is_absent = may_be_absent && length == Some(0);
    match (stated, length) {
        (Some(stated), Some(length)) if stated != length && !is_absent && !is_discarded => {
            Err(malformed(format!(
                "a content-length other than the body's {length} bytes"
            )))
        }
        (_, length) => Ok(Head {
            status,
            headers,
            length,
            stated,
        }),
    }
}

/// Statuses of responses that end with their head.
fn has_no_body(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    )
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

fn headers(fields: Vec<(String, Vec<u8>)>, is_stream: bool) -> Result<HeaderMap, Unsendable> {
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
        // Only a body that is written piece by piece has a trailer to announce.
        let announces = is_stream && name == TRAILER;
        if OF_THE_CONNECTION.contains(&name) && !announces {
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
