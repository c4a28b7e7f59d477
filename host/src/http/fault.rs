//! A *fault* is why a request was not answered by a process. Here it becomes a status and a short
//! text for the client; what the log has to say was said where it happened.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::Sent;
use super::body::ResponseBody;
use crate::guests::Unanswered;

/// When a client may try again after an overload, in seconds: the least that the header can say.
const RETRY_SECONDS: u64 = 1;

#[derive(Debug)]
pub(super) enum Fault {
    /// The request is not one that HTTP allows, for this reason.
    BadRequest(&'static str),
    /// Its request line has more bytes than a head may have.
    LineTooLong,
    /// Its head has.
    HeadTooLarge,
    /// A method that a server of this kind does not have.
    NotImplemented,
    /// Its body has more bytes than `--max-body`.
    BodyTooLarge,
    /// Its body did not come in time.
    BodyTooSlow,
    /// No guest has answered the request.
    Unanswered(Unanswered),
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

impl Fault {
    /// The response for a client whose request has this number.
    pub(super) fn response(&self, id: u64) -> Sent {
        let status = self.status();
        let text = format!("{status}: {} (request {id})\n", self.text());
        let mut response = hyper::Response::new(ResponseBody::from(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if self.loses_track() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unanswered(unanswered) => match unanswered {
                Unanswered::LineFull
                | Unanswered::WaitedTooLong
                | Unanswered::NotStarted(_)
                | Unanswered::NoRoot(_)
                | Unanswered::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                Unanswered::Late => StatusCode::GATEWAY_TIMEOUT,
                Unanswered::Ended(_) | Unanswered::BadResponse => StatusCode::BAD_GATEWAY,
                Unanswered::BadBody => StatusCode::BAD_REQUEST,
                Unanswered::Disk => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::BadRequest(why) => why,
            Self::LineTooLong => "the request line is longer than this server takes",
            Self::HeadTooLarge => "the request head is larger than this server takes",
            Self::NotImplemented => "this server does not forward connections",
            Self::BodyTooLarge => "the request body is larger than this server takes",
            Self::BodyTooSlow => "the request body did not come in time",
            Self::Unanswered(unanswered) => unanswered.text(),
        }
    }

    /// Whether nobody can tell any more where in the connection's bytes the next request begins.
    fn loses_track(&self) -> bool {
        match self {
            Self::BadRequest(_) | Self::LineTooLong | Self::HeadTooLarge | Self::BodyTooSlow => {
                true
            }
            Self::NotImplemented | Self::BodyTooLarge | Self::Unanswered(_) => false,
        }
    }

    /// In seconds, where trying again makes sense (RFC 9110, section 10.2.3).
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unanswered(unanswered) => match unanswered {
                Unanswered::NotStarted(Some(pause)) | Unanswered::NoRoot(pause) => {
                    Some(pause.as_secs().saturating_add(1))
                }
                Unanswered::LineFull
                | Unanswered::WaitedTooLong
                | Unanswered::NotStarted(None)
                | Unanswered::Stopping => Some(RETRY_SECONDS),
                Unanswered::Late
                | Unanswered::Ended(_)
                | Unanswered::BadResponse
                | Unanswered::BadBody
                | Unanswered::Disk => None,
            },
            Self::BadRequest(_)
            | Self::LineTooLong
            | Self::HeadTooLarge
            | Self::NotImplemented
            | Self::BodyTooLarge
            | Self::BodyTooSlow => None,
        }
    }
}
