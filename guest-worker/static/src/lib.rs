//! A static file server as a library: the whole of the built-in worker, for workers that do more
//! beside.
//!
//! ```
//! use wasm_pool_guest::{Request, Response, handler};
//!
//! handler!(site);
//!
//! fn site(request: Request) -> Response {
//!     match request.path.as_str() {
//!         "/api/version" => Response::json(200, r#"{"version":3}"#),
//!         _ => wasm_pool_static::answer(&request),
//!     }
//! }
//!
//! // A call that opens no file also runs outside the host, for example in a test.
//! assert_eq!(site(Request::new("GET", "/api/version")).status, 200);
//! assert_eq!(site(Request::new("PUT", "/index.html")).status, 405);
//! assert_eq!(site(Request::new("GET", "/.git/config")).status, 404);
//! ```
//!
//! This file follows one request, from top to bottom. A request takes one call to the host,
//! which opens the file or a compressed copy of it. The open file is the body of the response, and
//! its bytes never enter this process. The worker keeps nothing about a file for the next request:
//! files may change at any time.

#![cfg_attr(target_family = "wasm", no_std)]

extern crate alloc;

pub mod conditions;
pub mod date;
pub mod encoding;
pub mod media;
pub mod path;
pub mod range;
pub mod refusal;

#[cfg(test)]
mod properties;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use wasm_pool_guest::files::{self, ErrorCode, File, Metadata, Opened};
use wasm_pool_guest::{Body, FileSlice, Header, Request, Response};

use conditions::{Validators, Verdict};
use encoding::Coding;
use media::MediaType;
use range::Range;
use refusal::Refusal;

/// Answers with the file that the request's path names below the root folder, or says why not.
///
/// ```
/// use wasm_pool_guest::Request;
///
/// let options = Request::new("OPTIONS", "/index.html");
/// let response = wasm_pool_static::answer(&options);
/// assert_eq!(response.header("allow"), Some("GET, HEAD, OPTIONS"));
/// ```
pub fn answer(request: &Request) -> Response {
    respond(request, "", &request.path)
}

/// As [`answer`], for files that have their URLs below `prefix`: with `/static` the path
/// `/static/a.css` names the file `a.css`. None if the path, as it was sent, is not below the
/// prefix.
///
/// ```
/// use wasm_pool_guest::Request;
/// use wasm_pool_static::answer_below;
///
/// let status = |path| Some(answer_below("/static", &Request::new("GET", path))?.status);
/// assert_eq!(status("/static/.env"), Some(404));
/// assert_eq!(status("/static"), Some(308)); // to `/static/`
/// assert_eq!(status("/statics"), None);
/// assert_eq!(status("/"), None);
/// ```
pub fn answer_below(prefix: &str, request: &Request) -> Option<Response> {
    let prefix = prefix.trim_end_matches('/');
    let path = request.path.strip_prefix(prefix)?;
    let is_below = path.is_empty() || path.starts_with('/');
    is_below.then(|| respond(request, prefix, path))
}

fn respond(request: &Request, prefix: &str, path: &str) -> Response {
    find(request, prefix, path).unwrap_or_else(Refusal::into_response)
}

/// `path` is the request's without `prefix`.
fn find(request: &Request, prefix: &str, path: &str) -> Result<Response, Refusal> {
    match request.method.as_str() {
        "GET" | "HEAD" => {}
        "OPTIONS" => return Ok(Response::new(204).with_header("allow", refusal::METHODS)),
        _ => return Err(Refusal::Method),
    }
    if path.is_empty() {
        return with_final_slash(request, prefix, path);
    }
    let file = path::to_file(path)?;
    let media = MediaType::of(&file);
    let version = match open(&file, media, request) {
        Ok(version) => version,
        Err(ErrorCode::IsDirectory) if !path::is_folder(path) => {
            return with_final_slash(request, prefix, path);
        }
        Err(error) => return Err(error.into()),
    };
    let validators = Validators::of(&version.metadata, version.coding);
    match validators.judge(request) {
        Verdict::Proceed => send(version, media, &validators, request),
        Verdict::NotModified => {
            let mut response = Response::new(304);
            response.headers = fields(media, &validators);
            Ok(response)
        }
        Verdict::Failed => Err(Refusal::Precondition),
    }
}

/// One of the files that a path may be answered with: the original or a compressed copy.
struct Version {
    file: File,
    metadata: Metadata,
    coding: Option<Coding>,
}

impl Version {
    fn of(opened: Opened, coding: Option<Coding>) -> Self {
        let Opened { file, metadata } = opened;
        Self {
            file,
            metadata,
            coding,
        }
    }
}

/// A folder has its files under `folder/`: only from there do relative links in its index lead to
/// them.
fn with_final_slash(request: &Request, prefix: &str, path: &str) -> Result<Response, Refusal> {
    let location = path::of_folder(path, request.query.as_deref())?;
    Ok(Response::text(308, "This folder's path ends in a slash.\n")
        .with_header("location", [prefix, &location].concat()))
}

/// Opens a compressed copy that this client can unpack, or else the original, in one call.
///
/// A range always refers to the original: parts of a compressed file are useless to a client that
/// asks for parts. The host passes over a copy that is older than its original: somebody changed
/// the original and forgot the copy.
fn open(path: &str, media: MediaType, request: &Request) -> Result<Version, ErrorCode> {
    let has_copies = media.is_compressible() && request.header("range").is_none();
    let codings: Vec<Coding> = match has_copies {
        true => encoding::accepted(request.headers_named("accept-encoding")).collect(),
        false => Vec::new(),
    };
    if codings.is_empty() {
        return Ok(Version::of(files::open(path)?, None));
    }
    let copies = codings
        .iter()
        .map(|coding| [path, ".", coding.extension()].concat());
    let copies: Vec<String> = copies.collect();
    let chosen = files::open_variant(path, &copies)?;
    let coding = chosen
        .which
        .and_then(|nth| codings.get(nth as usize).copied());
    Ok(Version::of(chosen.opened, coding))
}

/// The file, or the requested part of it.
fn send(
    version: Version,
    media: MediaType,
    validators: &Validators,
    request: &Request,
) -> Result<Response, Refusal> {
    let size = version.metadata.size;
    let is_get = request.method == "GET";
    let range = match request.header("range") {
        Some(range) if is_get && validators.continue_with(request.header("if-range")) => {
            Range::of(range, size)
        }
        Some(_) | None => Range::Whole,
    };
    let mut response = Response::new(200);
    match range {
        Range::Whole => {
            response.headers = fields(media, validators);
            response.body = slice(version.file, 0, size);
        }
        Range::Part { offset, length } => {
            let last = offset + length - 1;
            response.status = 206;
            response.headers = fields(media, validators);
            add(
                &mut response.headers,
                "content-range",
                format!("bytes {offset}-{last}/{size}"),
            );
            response.body = slice(version.file, offset, length);
        }
        Range::Outside => return Err(Refusal::Range { size }),
    }
    add(&mut response.headers, "content-type", media.content_type());
    match version.coding {
        Some(coding) => add(&mut response.headers, "content-encoding", coding.name()),
        None => add(&mut response.headers, "accept-ranges", "bytes"),
    }
    Ok(response)
}

/// The fields that a file has with every status, `304` included.
fn fields(media: MediaType, validators: &Validators) -> Vec<Header> {
    let mut fields = Vec::with_capacity(6); // as many as there are at most: the list never moves
    add(&mut fields, "etag", validators.etag());
    if let Some(date) = validators.last_modified() {
        add(&mut fields, "last-modified", date);
    }
    if media.is_compressible() {
        add(&mut fields, "vary", "accept-encoding"); // also without copies: there may be some tomorrow
    }
    fields
}

fn add(fields: &mut Vec<Header>, name: &str, value: impl Into<Vec<u8>>) {
    let (name, value) = (name.into(), value.into());
    fields.push(Header { name, value });
}

fn slice(file: File, offset: u64, length: u64) -> Body {
    Body::File(FileSlice {
        file,
        offset,
        length,
    })
}
