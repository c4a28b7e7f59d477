//! *Typed* messages are values of Rust: `serde` and `postcard` make bytes of them, and of the bytes
//! values again. The host sees bytes only, so both sides must name the same type. What another type
//! wrote is nearly always an error, but may be a value too: `postcard` writes no names.
//!
//! ```no_run
//! use core::time::Duration;
//! use serde::{Deserialize, Serialize};
//! use wasm_pool_guest::mailbox::{Incoming, Pid};
//! use wasm_pool_guest::{talk, typed};
//!
//! #[derive(Serialize, Deserialize)]
//! enum Question {
//!     Add(u64, u64),
//! }
//!
//! /// The server: a reply for each question.
//! fn serve() {
//!     talk::serve(|message| match &message.content {
//!         Incoming::Call(call) => {
//!             let Ok(Question::Add(a, b)) = typed::value(&call.bytes) else { return None };
//!             typed::answer(&message, &a.checked_add(b)).ok().flatten()
//!         }
//!         Incoming::Data(_) | Incoming::Request(_) | Incoming::Down(_) => None,
//!     })
//! }
//!
//! /// A client of it.
//! fn sum(server: Pid) -> Result<Option<u64>, typed::Error> {
//!     typed::call(server, &Question::Add(1, 2), Duration::from_secs(1))
//! }
//! # let _ = (serve, sum);
//! ```

use core::fmt;
use core::time::Duration;

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::mailbox::{self, ErrorCode, Message, Pid};
use crate::talk::{self, Answer};

/// Why a typed message was not sent, or a value not had.
#[derive(Clone, Debug, PartialEq)]
pub enum Error {
    /// The host refused the message, or no reply came.
    Mailbox(ErrorCode),
    /// The value can't be written, or the bytes are no value of the type.
    Value(postcard::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(code) => write!(f, "the mailbox refused: {}", code.name()),
            Self::Value(error) => write!(f, "no value of this type: {error}"),
        }
    }
}

impl core::error::Error for Error {}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::Mailbox(code)
    }
}

impl From<postcard::Error> for Error {
    fn from(error: postcard::Error) -> Self {
        Self::Value(error)
    }
}

/// The bytes of a value, for [`mailbox::send`] and its like.
///
/// # Errors
/// [`Error::Value`] if the type can't be written: its length is not known, for one.
pub fn bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    Ok(postcard::to_allocvec(value)?)
}

/// The value that these bytes are: all of them.
///
/// ```
/// use wasm_pool_guest::typed;
///
/// let bytes = typed::bytes(&("seven", 7))?;
/// assert_eq!(typed::value::<(String, i32)>(&bytes)?, ("seven".to_owned(), 7));
/// assert!(typed::value::<(String, i32)>(&bytes[1..]).is_err());
/// assert!(typed::value::<String>(&bytes).is_err(), "something is left over");
/// # Ok::<(), typed::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] if they are not a value of this type.
pub fn value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(Error::Value(postcard::Error::DeserializeBadEncoding))
    }
}

/// Sends a value with a tag.
///
/// # Errors
/// [`Error::Mailbox`] as for [`mailbox::send`], [`Error::Value`] as for [`bytes`](fn@bytes).
pub fn send<T: Serialize + ?Sized>(to: Pid, tag: u64, value: &T) -> Result<(), Error> {
    let bytes = bytes(value)?;
    let content = mailbox::Outgoing::Data(mailbox::Data { tag, bytes });
    Ok(mailbox::send(to, content)?)
}

/// Sends a value to `server` and waits for its reply, for at most `timeout`.
///
/// # Errors
/// [`Error::Mailbox`] as for [`talk::call`], [`Error::Value`] if the question can't be written or
/// the reply is not a value of type `R`.
pub fn call<Q, R>(server: Pid, question: &Q, timeout: Duration) -> Result<R, Error>
where
    Q: Serialize + ?Sized,
    R: DeserializeOwned,
{
    value(&talk::call(server, &bytes(question)?, timeout)?)
}

/// The answer to a message for [`talk::serve`], as [`Answer::reply`] makes it of bytes.
///
/// # Errors
/// [`Error::Value`] as for [`bytes`](fn@bytes).
pub fn answer<T: Serialize + ?Sized>(asked: &Message, value: &T) -> Result<Option<Answer>, Error> {
    Ok(Answer::reply(asked, bytes(value)?))
}

/// Replies to a message with a value, as [`talk::reply`] does with bytes.
///
/// # Errors
/// [`Error::Mailbox`] as for [`talk::reply`], [`Error::Value`] as for [`bytes`](fn@bytes).
pub fn reply<T: Serialize + ?Sized>(asked: &Message, value: &T) -> Result<(), Error> {
    Ok(talk::reply(asked, bytes(value)?)?)
}
