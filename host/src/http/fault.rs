//! A *fault* is the reason why no process answered a request. This file turns it into a status and
//! a short text for the client. The causes are logged elsewhere.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::Sent;
use super::body::ResponseBody;
use crate::guests::Unanswered;

/// The time until a client may try again after an overload, in seconds: the least that the header
/// can say.
const RETRY_SECONDS: u64 = 1;

#[derive(Debug)]
pub(super) enum Fault {
    /// HTTP doesn't allow the request, for this reason.
    BadRequest(&'static str),
    /// The client speaks something else than HTTP/1, and what to do about it.
    NotHttp(&'static str),
    /// The request line is longer than a head may be.
    LineTooLong,
    /// The head is larger than a head may be.
    HeadTooLarge,
    /// The method is CONNECT, which this server doesn't implement.
    NotImplemented,
    /// The body has more bytes than `--max-body`.
    BodyTooLarge,
    /// The body didn't arrive in time.
    BodyTooSlow,
    /// The host has as many requests as it may have.
    Crowded,
    /// No guest answered the request.
    Unanswered(Unanswered),
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Fault {
    /// The response to the request with this number. Streams of HTTP/2 never lose track of each
    /// other.
    pub(super) fn response(&self, id: u64, is_stream: bool) -> Sent {
        let status = self.status();
        let text = format!("{status}: {} (request {id})\n", self.text());
        let mut response = hyper::Response::new(ResponseBody::from(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if self.loses_track() && !is_stream {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::NotHttp(_) => StatusCode::BAD_REQUEST,
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unanswered(unanswered) => match unanswered {
                Unanswered::LineFull
                | Unanswered::WaitedTooLong
                | Unanswered::NotStarted(_)
                | Unanswered::OutOfMemory
                | Unanswered::NoRoot(_)
                | Unanswered::Stopping
                | Unanswered::Draining
                | Unanswered::NoHost => StatusCode::SERVICE_UNAVAILABLE,
                Unanswered::Late => StatusCode::GATEWAY_TIMEOUT,
                Unanswered::Ended(_) | Unanswered::BadResponse | Unanswered::HostLost => {
                    StatusCode::BAD_GATEWAY
                }
                Unanswered::BadBody => StatusCode::BAD_REQUEST,
                Unanswered::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                Unanswered::NoRoute => StatusCode::NOT_FOUND,
                Unanswered::Disk => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::BadRequest(why) | Self::NotHttp(why) => why,
            Self::LineTooLong => "the request line is longer than this server takes",
            Self::HeadTooLarge => "the request head is larger than this server takes",
            Self::NotImplemented => "this server does not forward connections",
            Self::BodyTooLarge => "the request body is larger than this server takes",
            Self::BodyTooSlow => "the request body did not come in time",
            Self::Crowded => "too many requests at once",
            Self::Unanswered(unanswered) => unanswered.text(),
        }
    }

    /// Whether the start of the next request in the connection's bytes is unknown.
    fn loses_track(&self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::NotHttp(_)
            | Self::LineTooLong
            | Self::HeadTooLarge
            | Self::BodyTooSlow => true,
            Self::NotImplemented | Self::BodyTooLarge | Self::Crowded | Self::Unanswered(_) => {
                false
            }
        }
    }

    /// In seconds, if trying again makes sense (RFC 9110, section 10.2.3).
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unanswered(unanswered) => match unanswered {
                Unanswered::NotStarted(Some(pause)) | Unanswered::NoRoot(pause) => {
                    Some(pause.as_secs().saturating_add(1))
                }
                Unanswered::LineFull
                | Unanswered::WaitedTooLong
                | Unanswered::NotStarted(None)
                | Unanswered::OutOfMemory
                | Unanswered::Stopping
                | Unanswered::Draining
                | Unanswered::NoHost => Some(RETRY_SECONDS),
                Unanswered::NoRoute
                | Unanswered::Late
                | Unanswered::Ended(_)
                | Unanswered::BadResponse
                | Unanswered::BadBody
                | Unanswered::BodyTooLarge
                | Unanswered::HostLost
                | Unanswered::Disk => None,
            },
            Self::Crowded => Some(RETRY_SECONDS),
            Self::BadRequest(_)
            | Self::NotHttp(_)
            | Self::LineTooLong
            | Self::HeadTooLarge
            | Self::NotImplemented
            | Self::BodyTooLarge
            | Self::BodyTooSlow => None,
        }
    }
}
