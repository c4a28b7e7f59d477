//! Translates between messages and the types of `wasi:http`, for both of its versions. Bodies pass
//! piece by piece.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::oneshot;
use wasmtime::Result;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::body::{Body, BodyError, Piece, Reader, Stream};
use crate::message::{self, Request, Response};
use crate::steps::Steps;

/// The most bytes of a body that a guest writes at once. The host holds two of them per response.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// Translates a request. Its target becomes absolute: guests learn scheme and authority from it.
pub(super) fn incoming(request: Request) -> Result<http::Request<RequestBody>> {
    let headers = fields(request.headers.iter());
    let authority = headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = authority.and_then(|host| Authority::try_from(host).ok());
    let authority = match authority {
        Some(authority) => authority,
        // HTTP/1.0 needs no host. The client has asked for whatever is at this address.
        None => Authority::try_from(&*request.server)?,
    };
    let path = match &request.query {
        None => PathAndQuery::try_from(request.path)?,
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", request.path))?,
    };
    let mut target = http::uri::Parts::default();
    target.scheme = Some(match request.scheme {
        message::Scheme::Http => Scheme::HTTP,
        message::Scheme::Https => Scheme::HTTPS,
    });
    target.authority = Some(authority);
    target.path_and_query = Some(path);
    let mut translated = http::Request::new(RequestBody::of(request.body));
    *translated.method_mut() = Method::from_bytes(request.method.as_bytes())?;
    *translated.uri_mut() = Uri::from_parts(target)?;
    *translated.headers_mut() = headers;
    Ok(translated)
}

/// Translates a response. `delivered` learns whether the whole body was taken.
pub(super) fn outgoing(
    response: http::Response<WasiBody>,
    delivered: Option<Delivered>,
) -> Response {
    let (head, body) = response.into_parts();
    let stated = head.headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    let stated = stated.and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    let body = GuestBody {
        left: stated.or_else(|| body.size_hint().exact()),
        body: Mutex::new(body),
        delivered,
    };
    Response {
        status: head.status.as_u16(),
        headers: pairs(&without_te(head.headers)),
        body: Body::Stream(Box::new(body)),
    }
}

/// A guest that answers with all fields of its request answers with this one, too: a client that
/// takes trailers has sent it. It says nothing in a response.
fn without_te(mut fields: HeaderMap) -> HeaderMap {
    fields.remove(TE);
    fields
}

/// Where to say that a whole body was taken.
pub(super) type Delivered = oneshot::Sender<Result<(), Error>>;

fn fields<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        // Both have been a client's header field before, so neither is refused.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

fn pairs(map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let fields = map.iter();
    fields
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// The body of a request, as `wasi:http` reads it.
pub(super) struct RequestBody(Reader);

impl RequestBody {
    fn of(body: Body) -> Self {
        Self(Reader::new(body, &Steps::default()))
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let piece = ready!(self.0.poll_piece(cx));
        Poll::Ready(piece.map(|piece| match piece {
            Ok(Piece::Bytes(bytes)) => Ok(Frame::data(bytes)),
            Ok(Piece::Trailers(trailers)) => {
                let trailers = trailers.iter();
                Ok(Frame::trailers(fields(
                    trailers.map(|(name, value)| (&**name, &**value)),
                )))
            }
            Err(BodyError::TooLarge) => Err(Error::HttpRequestBodySize(None)),
            Err(BodyError::TooSlow) => Err(Error::ConnectionReadTimeout),
            Err(BodyError::File(_) | BodyError::Broken(_)) => Err(Error::ConnectionTerminated),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .length()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The body of a response, as the guest writes it.
struct GuestBody {
    /// A lock only because the body can't be shared. Nobody shares it.
    body: Mutex<WasiBody>,
    /// Bytes still to come, if known.
    left: Option<u64>,
    delivered: Option<Delivered>,
}

impl Stream for GuestBody {
    fn length(&self) -> Option<u64> {
        self.left
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            return Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if bytes.is_empty() => continue,
                    Ok(bytes) => {
                        self.left = self
                            .left
                            .map(|left| left.saturating_sub(bytes.len() as u64));
                        Some(Ok(Piece::Bytes(bytes)))
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        Some(Ok(Piece::Trailers(pairs(&trailers))))
                    }
                },
                Some(Err(error)) => Some(Err(BodyError::Broken(format!("{error}")))),
                None => {
                    if let Some(left @ 1..) = self.left.take() {
                        let why = format!("it has {left} bytes less than its content-length");
                        return Poll::Ready(Some(Err(BodyError::Broken(why))));
                    }
                    if let Some(delivered) = self.delivered.take() {
                        let _gone = delivered.send(Ok(()));
                    }
                    None
                }
            });
        }
    }
}

impl fmt::Debug for GuestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestBody")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
