//! A *fault* is why a request was not answered by a process. Here it becomes a status and a short text for
//! the client; what the log has to say was said where it happened.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::Sent;
use super::body::ResponseBody;
use crate::pool::Refusal;
use crate::root::Unanswered;
use crate::sandbox::Failure;
use crate::supervisor::StartError;

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
    /// The pool has no process for it.
    Refused(Refusal),
    /// The program has ended, and is started again in so long.
    NoRoot(Duration),
    /// Its process did not answer in time.
    Deadline,
    /// Its process ended before it answered.
    Crashed,
    /// Its process answered with something that is not HTTP.
    BadResponse,
}

impl From<&Failure> for Fault {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Deadline => Self::Deadline,
            Failure::Response(_) => Self::BadResponse,
            Failure::Trap(_) | Failure::Exit(_) | Failure::Stack(_) | Failure::Memory(_) => {
                Self::Crashed
            }
        }
    }
}

impl From<Unanswered> for Fault {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::Full => Self::Refused(Refusal::LineFull),
            Unanswered::NoRoot(pause) => Self::NoRoot(pause),
            Unanswered::Closed => Self::Refused(Refusal::Closed),
            Unanswered::Ended(..) => Self::Crashed,
            Unanswered::Late(_) => Self::Deadline,
        }
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
            Self::Refused(_) | Self::NoRoot(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Crashed | Self::BadResponse => StatusCode::BAD_GATEWAY,
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
            Self::Refused(Refusal::LineFull | Refusal::WaitedTooLong) => "all processes are busy",
            Self::Refused(Refusal::NotStarted(_)) => "no process could be started",
            Self::Refused(Refusal::Closed) => "the server is stopping",
            Self::NoRoot(_) => "the program that answers requests has ended, and is started again",
            Self::Deadline => "the process that served this request did not answer in time",
            Self::Crashed => "the process that served this request ended before it answered",
            Self::BadResponse => {
                "the process that served this request answered with something that is not HTTP"
            }
        }
    }

    /// Whether nobody can tell any more where in the connection's bytes the next request begins.
    fn loses_track(&self) -> bool {
        match self {
            Self::BadRequest(_) | Self::LineTooLong | Self::HeadTooLarge | Self::BodyTooSlow => {
                true
            }
            Self::NotImplemented
            | Self::BodyTooLarge
            | Self::Refused(_)
            | Self::NoRoot(_)
            | Self::Deadline
            | Self::Crashed
            | Self::BadResponse => false,
        }
    }

    /// In seconds, where trying again makes sense (RFC 9110, section 10.2.3).
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Refused(Refusal::NotStarted(StartError::BackingOff(pause)))
            | Self::NoRoot(pause) => Some(pause.as_secs().saturating_add(1)),
            Self::Refused(_) => Some(RETRY_SECONDS),
            Self::BadRequest(_)
            | Self::LineTooLong
            | Self::HeadTooLarge
            | Self::NotImplemented
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::Deadline
            | Self::Crashed
            | Self::BadResponse => None,
        }
    }
}
