//! The yardstick: a plain hyper server that answers as the built-in worker does, without wasm.
//!
//! ```text
//! native ROOT ADDRESS         each GET opens, asks, reads and closes its file
//! native --constant ADDRESS   each GET gets the same 1 KiB: what hyper itself can do, the ceiling
//! ```
//!
//! The server keeps nothing from one request to the next. Responses have the fields of the
//! worker's. As in the host, the runtime has a thread per core, and a request stays on the task
//! that read it. The server has no limits, no deadlines and no log; no index, ranges, conditions or
//! compressed copies; and a cold disk stalls it. The host, in turn, keeps small files for a tenth
//! of a second, and doesn't open them meanwhile.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_RANGES, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, VARY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

/// The answer of `--constant`.
pub const CONSTANT: [u8; 1024] = [b'x'; 1024];

type Answer = Response<Full<Bytes>>;

/// The source of answers.
enum Source {
    Constant,
    Folder(OwnedFd),
}

/// Serves for ever.
///
/// # Errors
/// Where the arguments are not as above, or the folder or the address can't be used.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let [root, address] = &args[..] else {
        bail!("usage: native ROOT ADDRESS, or native --constant ADDRESS");
    };
    let source = if root == "--constant" {
        Source::Constant
    } else {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(root.as_os_str(), flags, Mode::empty());
        Source::Folder(folder.with_context(|| format!("can't open {}", root.display()))?)
    };
    let address: SocketAddr = address.to_string_lossy().parse().context("ADDRESS")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(source, address))
}

async fn serve(source: Source, address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    let source = Arc::new(source);
    loop {
        let (stream, _client) = listener.accept().await?;
        tokio::spawn(connection(stream, Arc::clone(&source)));
    }
}

async fn connection(stream: TcpStream, source: Arc<Source>) {
    let _ = stream.set_nodelay(true);
    let answer = service_fn(async |request: Request<Incoming>| {
        let answer = match &*source {
            Source::Constant => Response::new(Full::from(&CONSTANT[..])),
            Source::Folder(folder) => file(folder, &request).unwrap_or_else(failed),
        };
        Ok::<_, Infallible>(answer)
    });
    // Clients may break off.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// Opens the file beneath the folder, asks for its size and time, reads it, and closes it.
fn file(folder: &OwnedFd, request: &Request<Incoming>) -> Result<Answer, Errno> {
    if request.method() != Method::GET {
        return Err(Errno::NOSYS);
    }
    let path = request.uri().path().trim_start_matches('/');
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(folder, path, flags, Mode::empty(), beneath)?;
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NOENT);
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let nanoseconds = stat.st_mtime_nsec;
    let body = read(file, size)?;

    let mut answer = Response::new(Full::from(body));
    let fields = answer.headers_mut();
    fields.reserve(7); // those below, and two of hyper's
    let etag = format!("\"{seconds:x}.{nanoseconds:x}-{size:x}\"");
    add(fields, ETAG, etag);
    let modified = UNIX_EPOCH + Duration::from_secs(seconds);
    add(fields, LAST_MODIFIED, httpdate::fmt_http_date(modified));
    let media = mime_guess::from_path(path)
        .first_raw()
        .unwrap_or("application/octet-stream");
    let is_text = media.starts_with("text/");
    if is_text {
        fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    let charset = if is_text { "; charset=utf-8" } else { "" };
    add(fields, CONTENT_TYPE, [media, charset].concat());
    fields.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(answer)
}

fn read(file: OwnedFd, size: u64) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; usize::try_from(size).map_err(|_| Errno::FBIG)?];
    let read = File::from(file).read_exact(&mut bytes);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(bytes)
}

fn add(fields: &mut HeaderMap, name: hyper::header::HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
        fields.insert(name, value);
    }
}

fn failed(errno: Errno) -> Answer {
    let mut answer = Response::new(Full::from(format!("{errno}\n")));
    *answer.status_mut() = match errno {
        Errno::NOSYS => StatusCode::METHOD_NOT_ALLOWED,
        Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => StatusCode::NOT_FOUND,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    answer
}
