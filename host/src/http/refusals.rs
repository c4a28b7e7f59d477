//! Logs refused clients that no process has seen. Each reason gets at most one line a second,
//! whatever clients send.

use std::fmt::Display;

use super::fault::Fault;
use super::heads::Flaw;
use crate::guests::Unanswered;
use crate::rate::Rate;

/// What the sender of a header of the PROXY protocol has to know that is not read.
pub(super) const NOT_PROXIED: &str =
    "a header of the PROXY protocol is read only with --proxy-protocol, and from a --trusted-proxy";

/// Why a client was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    TooManyConnections,
    Crowded,
    Flood,
    SlowOpening,
    NoProxyHeader,
    NotTls,
    SlowHead,
    NotHttp,
    BadRequest,
    LineTooLong,
    HeadTooLarge,
    NotImplemented,
    BodyTooLarge,
    BodyTooSlow,
    QueueFull,
    NoRoute,
    OutOfMemory,
    QueueTimeout,
    NoHost,
}

/// One for all connections.
#[derive(Debug, Default)]
pub(super) struct Refusals([Rate; Reason::COUNT]);

impl Refusals {
    /// Writes a line, unless there was one within the last second. `detail` adds to the reason.
    pub(super) fn note(&self, reason: Reason, client: &dyn Display, detail: Option<&str>) {
        self.write(reason, client, detail, None);
    }

    /// Logs a fault that no process had part in, with the name of its pool.
    pub(super) fn note_fault(&self, fault: &Fault, client: &str, pool: Option<&str>) {
        if let Some((reason, detail)) = Reason::of(fault) {
            self.write(reason, &client, detail, pool);
        }
    }

    fn write(
        &self,
        reason: Reason,
        client: &dyn Display,
        detail: Option<&str>,
        pool: Option<&str>,
    ) {
        let Some(skipped) = self.0[reason as usize].admit() else {
            return;
        };
        let skipped = (skipped > 0).then_some(skipped);
        let reason = reason.text();
        tracing::warn!(reason, pool, %client, detail, skipped, "request refused");
    }
}

impl Reason {
    const COUNT: usize = Self::NoHost as usize + 1;

    fn of(fault: &Fault) -> Option<(Self, Option<&'static str>)> {
        match fault {
            Fault::BadRequest(why) => Some((Self::BadRequest, Some(why))),
            Fault::NotHttp(why) => Some((Self::NotHttp, Some(why))),
            Fault::LineTooLong => Some((Self::LineTooLong, None)),
            Fault::HeadTooLarge => Some((Self::HeadTooLarge, None)),
            Fault::NotImplemented => Some((Self::NotImplemented, None)),
            Fault::BodyTooLarge | Fault::Unanswered(Unanswered::BodyTooLarge) => {
                Some((Self::BodyTooLarge, None))
            }
            Fault::BodyTooSlow => Some((Self::BodyTooSlow, None)),
            Fault::Crowded => Some((Self::Crowded, None)),
            Fault::Unanswered(Unanswered::LineFull) => Some((Self::QueueFull, None)),
            Fault::Unanswered(Unanswered::WaitedTooLong) => Some((Self::QueueTimeout, None)),
            Fault::Unanswered(Unanswered::NoRoute) => Some((Self::NoRoute, None)),
            Fault::Unanswered(Unanswered::NoHost) => Some((Self::NoHost, None)),
            Fault::Unanswered(Unanswered::OutOfMemory) => Some((Self::OutOfMemory, None)),
            // The other faults are logged where they are noticed.
            Fault::Unanswered(
                Unanswered::NotStarted(_)
                | Unanswered::NoRoot(_)
                | Unanswered::Stopping
                | Unanswered::Draining
                | Unanswered::Late
                | Unanswered::Ended(_)
                | Unanswered::BadResponse
                | Unanswered::BadBody
                | Unanswered::HostLost
                | Unanswered::Disk,
            ) => None,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too many connections",
            Self::Crowded => "too many requests at once",
            Self::Flood => "too many frames that ask for nothing",
            Self::SlowOpening => "its connection was not ready in time",
            Self::NoProxyHeader => "a trusted proxy sent no header of the PROXY protocol",
            Self::NotTls => "its TLS handshake failed",
            Self::SlowHead => "its head did not come in time",
            Self::NotHttp => "not HTTP",
            Self::BadRequest => "bad request",
            Self::LineTooLong => "its request line is too long",
            Self::HeadTooLarge => "its head is too large",
            Self::NotImplemented => "a method that this server does not have",
            Self::BodyTooLarge => "its body is too large",
            Self::BodyTooSlow => "its body did not come in time",
            Self::QueueFull => "the queue is full",
            Self::NoRoute => "no pool has a route for it",
            Self::OutOfMemory => "all processes together have as much memory as they may",
            Self::QueueTimeout => "it waited in the queue too long",
            Self::NoHost => "no host of the cluster has room for it",
        }
    }
}

impl From<Flaw> for Fault {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::LineTooLong => Self::LineTooLong,
            Flaw::HeadTooLarge => Self::HeadTooLarge,
            Flaw::Length => {
                Self::BadRequest("no body has as many bytes as its Content-Length says")
            }
            Flaw::Fragment => Self::BadRequest("a request target has no fragment"),
            Flaw::Http2 => {
                Self::NotHttp("HTTP/2 begins by ALPN over TLS, and in the clear only with --h2c")
            }
            Flaw::ProxyHeader => Self::NotHttp(NOT_PROXIED),
            Flaw::Tls => Self::NotHttp(
                "this port speaks HTTP in the clear, and TLS only with --tls-cert and --tls-key",
            ),
        }
    }
}
