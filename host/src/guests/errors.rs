//! Why a host does not start, and why a request has no answer. One enum each, for all kinds of
//! module.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use super::{SettingsError, Unsendable};
use crate::exit::Exit;
use crate::kind::Kind;
use crate::pool::Refusal;
use crate::root;
use crate::sandbox::LoadError;
use crate::supervisor;
use crate::table::ProcessError;

/// Why a host could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The root folder can't be opened.
    Root {
        /// The path of the folder.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The settings contradict each other or the kind of the module.
    Settings(SettingsError),
    /// The module can't be run.
    Load(LoadError),
    /// A process of the pool could not be started.
    Process(supervisor::StartError),
    /// A process of the pool had too little memory to start.
    Memory {
        /// The memory that a process may have, in bytes.
        memory: u64,
        /// What its start code failed with.
        reason: String,
    },
    /// The root process of the program could not be started.
    ProgramRoot(ProcessError),
    /// The root process ended before it asked for a message. Its exit.
    ProgramEnded(Exit),
    /// The module did not answer the request of [`Settings::probe`](crate::Settings::probe), whose
    /// target this is, as it should.
    Probe(String, ProbeError),
    /// The pool was changed meanwhile: what was to be scaled or drained serves no more.
    Superseded,
    /// The host is stopping, and starts nothing any more.
    Stopping,
    /// The module is neither a program nor a command. Only these can run without HTTP.
    NotAProgram(Kind),
    /// The system gives no thread to compile on.
    Thread(io::Error),
    /// There is no pool of this number.
    NoPool,
    /// The pool of this name could not be started, for this reason.
    Pool(String, Box<Self>),
}

/// Why an answer to a probe is not good enough.
#[derive(Debug)]
pub enum ProbeError {
    /// There was none.
    Unanswered(Unanswered),
    /// The status is none of 2xx or 3xx.
    Status(u16),
    /// The body broke off, or took too long.
    Body,
}

/// Why a request was not answered by a guest.
#[derive(Debug)]
pub enum Unanswered {
    /// No pool has a route for the request.
    NoRoute,
    /// As many requests wait as may wait.
    LineFull,
    /// The request waited for a process for the longest allowed time.
    WaitedTooLong,
    /// No process could be started. The next start comes after this pause, if it is known.
    NotStarted(Option<Duration>),
    /// All processes of the host together have as much memory as they may.
    OutOfMemory,
    /// The program's root process has ended. The next one starts after this pause.
    NoRoot(Duration),
    /// The host is stopping.
    Stopping,
    /// An operator has the pool take no new requests.
    Draining,
    /// The guest did not answer in time.
    Late,
    /// The process that held the request ended before it answered.
    Ended(Exit),
    /// The guest's response is not HTTP. Its process ends.
    BadResponse,
    /// The request's body exceeds its limit, or could not be read to its end.
    BadBody,
    /// The request's body exceeds the limit of the host that was to answer it.
    BodyTooLarge,
    /// The host's disk failed while reading the response's file. The guest is not at fault.
    Disk,
    /// The host of a cluster that had the request is lost.
    HostLost,
    /// No host of the cluster has room for the request.
    NoHost,
}

impl Unanswered {
    /// Whether the module is what fails, and neither a client, an operator nor the load.
    pub(super) fn is_of_the_module(&self) -> bool {
        match self {
            Self::NotStarted(_) | Self::NoRoot(_) | Self::Late | Self::BadResponse => true,
            Self::Ended(exit) => match exit {
                Exit::Killed | Exit::ClientLeft | Exit::Stopped | Exit::HostLost => false,
                Exit::Normal
                | Exit::Code(_)
                | Exit::Trap
                | Exit::Stack
                | Exit::Memory
                | Exit::Deadline
                | Exit::Response
                | Exit::Served
                | Exit::Grown
                | Exit::Idle => true,
            },
            Self::NoRoute
            | Self::LineFull
            | Self::WaitedTooLong
            | Self::OutOfMemory
            | Self::Stopping
            | Self::Draining
            | Self::BadBody
            | Self::BodyTooLarge
            | Self::Disk
            | Self::HostLost
            | Self::NoHost => false,
        }
    }

    pub(super) fn of(exit: Exit) -> Self {
        match exit {
            Exit::Deadline => Self::Late,
            Exit::Response => Self::BadResponse,
            Exit::Normal
            | Exit::Code(_)
            | Exit::Trap
            | Exit::Stack
            | Exit::Memory
            | Exit::Killed
            | Exit::ClientLeft
            | Exit::Served
            | Exit::Grown
            | Exit::Idle
            | Exit::Stopped
            | Exit::HostLost => Self::Ended(exit),
        }
    }
}

impl From<Unsendable> for Unanswered {
    fn from(unsendable: Unsendable) -> Self {
        match unsendable {
            Unsendable::Malformed(_logged) => Self::BadResponse,
            Unsendable::Disk => Self::Disk,
        }
    }
}

impl From<root::Unanswered> for Unanswered {
    fn from(unanswered: root::Unanswered) -> Self {
        match unanswered {
            root::Unanswered::Ended(_, exit) => Self::Ended(exit),
            root::Unanswered::Late(_) => Self::Late,
            root::Unanswered::Full => Self::LineFull,
            root::Unanswered::NoRoot(pause) => Self::NoRoot(pause),
            root::Unanswered::Closed => Self::Stopping,
        }
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::LineFull => Self::LineFull,
            Refusal::WaitedTooLong => Self::WaitedTooLong,
            Refusal::NotStarted(supervisor::StartError::BackingOff(pause)) => {
                Self::NotStarted(Some(pause))
            }
            Refusal::NotStarted(supervisor::StartError::Failed(..)) => Self::NotStarted(None),
            Refusal::NotStarted(supervisor::StartError::OutOfMemory) => Self::OutOfMemory,
            Refusal::Closed => Self::Stopping,
        }
    }
}

impl Unanswered {
    /// The text for the client.
    pub(crate) fn text(&self) -> &'static str {
        match self {
            Self::NoRoute => "nothing here answers for this host and path",
            Self::LineFull | Self::WaitedTooLong => "all processes are busy",
            Self::NotStarted(_) => "no process could be started",
            Self::OutOfMemory => "the processes here have as much memory as they may",
            Self::NoRoot(_) => "the program that answers requests has ended, and is started again",
            Self::Stopping => "the server is stopping",
            Self::Draining => "this part of the server takes no requests at present",
            Self::Late => "the process that served this request did not answer in time",
            Self::Ended(_) => "the process that served this request ended before it answered",
            Self::BadResponse => {
                "the process that served this request answered with something that is not HTTP"
            }
            Self::BadBody => "the request body is too large or broken off",
            Self::BodyTooLarge => "the request body is larger than this server takes",
            Self::Disk => "the file that answers this request can't be read",
            Self::HostLost => "the host that served this request was lost",
            Self::NoHost => "no host has room for this request",
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Unanswered {}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { path, error } => {
                let path = path.display();
                write!(f, "root {path}: can't open this folder: {error}")
            }
            Self::Settings(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Process(error) => write!(f, "the module can't be started: {error}"),
            Self::Memory { reason, .. } => {
                write!(f, "a process has too little memory to start: {reason}")
            }
            Self::ProgramEnded(exit) => {
                write!(f, "the root ended before it asked for a message ({exit})")
            }
            Self::Probe(target, error) => match error {
                ProbeError::Unanswered(error) => {
                    write!(f, "the probe {target} had no answer: {error}")
                }
                ProbeError::Status(status) => {
                    write!(
                        f,
                        "the probe {target} was answered with {status}, not with 2xx or 3xx"
                    )
                }
                ProbeError::Body => write!(f, "the answer to the probe {target} has no end"),
            },
            Self::Superseded => f.write_str("it was loaded again meanwhile"),
            Self::Stopping => f.write_str("the host is stopping"),
            Self::ProgramRoot(error) => write!(f, "the root can't be started: {error:?}"),
            Self::NotAProgram(kind) => write!(
                f,
                "this module exports `{}`, which answers requests; only modules that export `run`, \
                 `wasi:cli/run` or `_start` run by themselves",
                kind.export()
            ),
            Self::Thread(error) => write!(f, "the compiler failed: {error}"),
            Self::NoPool => f.write_str("there is no such pool"),
            Self::Pool(name, error) => write!(f, "pool {name}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
