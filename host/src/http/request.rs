//! Converts hyper's request to ours: the first copy. Size and time are bounded before anything is
//! taken from the pool, so that a slow client costs a connection and no process.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{COOKIE, EXPECT, HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};

use super::Reading;
use super::fault::Fault;
use super::forwarded::{self, Named};
use super::target::{Target, is_host, is_target};
use super::trace_context::{self, Sent, TraceId};
use super::upload::{self, Uploading};
use crate::body::Body;
use crate::message::{Headers, Request, Scheme};
use crate::settings::TrustedProxies;

/// The most bytes that are read and discarded of a body that is too large, so that a client that
/// still sends can read the answer. Closing the connection at once would reset it (RFC 9112,
/// section 9.6).
pub(super) const DISCARD_BYTES: u64 = 16 << 20;

/// The longest time for discarding them.
pub(super) const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The two ends of a connection, as `address:port`.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: Arc<str>,
    pub(super) server: Arc<str>,
    pub(super) scheme: Scheme,
    /// Whether the client is a proxy that names the client for whom it asks.
    pub(super) is_trusted: bool,
}

/// For whom a request is asked, and how.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) address: Arc<str>,
    pub(super) scheme: Scheme,
}

impl Ends {
    /// Who asks with these fields.
    pub(super) fn client(&self, headers: &HeaderMap, trusted: &TrustedProxies) -> Client {
        let named = match self.is_trusted {
            true => forwarded::named(headers, trusted),
            false => Named::default(),
        };
        Client {
            address: named.client.unwrap_or_else(|| Arc::clone(&self.client)),
            scheme: named.scheme.unwrap_or(self.scheme),
        }
    }
}

pub(super) async fn receive(
    request: hyper::Request<Incoming>,
    id: u64,
    (client, server): (&Client, &Arc<str>),
    reading: Reading,
    trace: &mut Option<TraceId>,
) -> Result<(Request, Option<Uploading>), Fault> {
    let takes_streams = reading.takes_streams;
    let (head, body) = request.into_parts();
    // A client that asks to be connected through names a host and no more. A guest of `wasi:http`
    // may get the method for a target of its own.
    if head.method == Method::CONNECT && (!takes_streams || head.uri.scheme().is_none()) {
        return Err(Fault::NotImplemented);
    }
    let target = Target {
        scheme: head.uri.scheme_str(),
        authority: head.uri.authority().map(Authority::as_str),
        path: head.uri.path(),
    };
    if !is_target(head.method.as_str(), target) {
        return Err(Fault::BadRequest(
            "a request target is a path, or the URL of something here",
        ));
    }
    check_host(&head, takes_streams)?;
    let mut headers = Headers::with_capacity(head.headers.len() + 2);
    // A host in the target overrides the field (RFC 9112, section 3.2.2).
    let authority = target.authority.map(str::as_bytes);
    if let (Some(authority), false) = (authority, head.headers.contains_key(HOST)) {
        headers.push(HOST.as_str(), authority);
    }
    let mut sent = Sent::Nothing;
    // Clients of HTTP/2 may send a cookie per field. Elsewhere they stand in one (RFC 9113, section
    // 8.2.3).
    let mut cookies = Vec::new();
    for (name, value) in &head.headers {
        if name == COOKIE && head.version == Version::HTTP_2 {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
            continue;
        }
        if name == trace_context::FIELD {
            sent = sent.and(value.as_bytes());
            continue;
        }
        let value = match authority {
            Some(authority) if name == HOST => authority,
            Some(_) | None => value.as_bytes(),
        };
        headers.push(name.as_str(), value);
    }
    if !cookies.is_empty() {
        headers.push(COOKIE.as_str(), &cookies);
    }
    *trace = Some(TraceId::add(&mut headers, sent));
    let waits = head.headers.contains_key(EXPECT);
    let mut uploading = None;
    let body = if body.is_end_stream() {
        Body::empty()
    } else if takes_streams {
        let uploading = uploading.insert(Uploading::default());
        Box::pin(upload::begin(body, waits, uploading, reading)).await?
    } else {
        Box::pin(read(body, waits, reading)).await?.into() // most requests have none
    };
    let request = Request {
        id,
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers,
        body,
        client: Arc::clone(&client.address),
        server: Arc::clone(server),
        scheme: client.scheme,
    };
    Ok((request, uploading))
}

/// Exactly one in HTTP/1.1, and it is a host (RFC 9112, section 3.2). In HTTP/2 the target names it
/// (RFC 9113, section 8.3.1). Clients of `wasi:http` servers may leave the field out in HTTP/1.1
/// too, if the target names the host, as they may elsewhere.
fn check_host(head: &Parts, takes_streams: bool) -> Result<(), Fault> {
    let may_leave_out = takes_streams || head.version == Version::HTTP_2;
    let names_host = may_leave_out && head.uri.authority().is_some();
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(Fault::BadRequest("the Host field names no host")),
        (None, _) if head.version < Version::HTTP_11 || names_host => Ok(()),
        (None, _) | (Some(_), Some(_)) => Err(Fault::BadRequest("a request needs one Host field")),
    }
}

/// The end of a body must be unambiguous. Otherwise a proxy before us and we could see different
/// requests in the same bytes. `Transfer-Encoding` is `chunked`, once, or absent (RFC 9112, section
/// 6.1).
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Fault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Fault::BadRequest(
            "the only transfer coding here is chunked, once",
        )),
    }
}

/// Reads the whole body. `waits` says whether the client sends it only on request, by our reading.
pub(super) async fn read(
    mut body: Incoming,
    waits: bool,
    reading: Reading,
) -> Result<Vec<u8>, Fault> {
    let limit = reading.max_body;
    if body.size_hint().lower() > limit {
        if !waits {
            discard(body).await;
        }
        return Err(Fault::BodyTooLarge);
    }
    let mut bytes = Vec::new();
    let whole = tokio::time::timeout(reading.body_time, async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fault::BadRequest(upload::BROKEN))?;
            let Ok(data) = frame.into_data() else {
                continue;
            }; // trailers mean nothing here
            if bytes.len() as u64 + data.len() as u64 > limit {
                return Err(Fault::BodyTooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(())
    });
    match whole.await {
        Ok(Ok(())) => Ok(bytes),
        Ok(Err(fault)) => {
            if matches!(fault, Fault::BodyTooLarge) {
                discard(body).await;
            }
            Err(fault)
        }
        Err(_elapsed) => Err(Fault::BodyTooSlow),
    }
}

pub(super) async fn discard(mut body: Incoming) {
    let all = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
            if discarded > DISCARD_BYTES {
                break;
            }
        }
    };
    let _elapsed = tokio::time::timeout(DISCARD_TIME, all).await;
}
