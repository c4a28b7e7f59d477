//! *Peers* are the other hosts of a cluster, as the processes of a program see them. The floors of
//! processes know this trait only, and whoever is above hands in a cluster. A host that is alone
//! has no peers ([`Alone`]).

use std::fmt;
use std::pin::Pin;
use std::sync::Weak;
use std::time::Duration;

use crate::call::Caller;
use crate::exit::Exit;
use crate::mailbox::MailError;
use crate::pid::Pid;
use crate::queues::Queues;
use crate::table::Table;

/// An answer for which another host may be asked.
pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The way of a message. `from` or `to` is a process of this host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// The name of the program, on both hosts.
    pub(crate) program: &'a str,
    pub(crate) from: Pid,
    pub(crate) to: Pid,
}

/// Bytes from one process for another.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) tag: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A host of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// The root process of the program that was asked for.
    pub(crate) root: Option<Pid>,
}

/// Why a name of the cluster can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// Another process has it.
    Taken,
    Unreachable,
}

/// Why a process of another host is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotWatched {
    NoProcess,
    Unreachable,
}

/// Other hosts can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable;

/// Called when a name was lost, while its process still runs.
pub(crate) type Lost = Box<dyn Fn() + Send + Sync>;

/// What other hosts do for processes of this one.
pub(crate) trait Peers: Queues + Send + Sync + fmt::Debug {
    /// The number of this host.
    fn here(&self) -> u32;

    /// Names a program of this host. Other hosts reach its processes by this table.
    fn attach(&self, program: &str, table: Weak<Table>);

    /// The other hosts that are there, by number, and this one: first, without its root.
    fn hosts(&self, program: &str) -> Vec<PeerInfo>;

    /// Sends data without waiting.
    ///
    /// # Errors
    /// [`MailError::NoProcess`] and [`MailError::Full`], as earlier messages have shown;
    /// [`MailError::TooLarge`]; [`MailError::Unreachable`].
    fn send(&self, way: Way<'_>, letter: Letter) -> Result<(), MailError>;

    /// Sends data, and waits for at most `time_limit` until the receiver has taken it.
    fn send_wait<'a>(
        &'a self,
        way: Way<'a>,
        letter: Letter,
        time_limit: Duration,
    ) -> Asking<'a, Result<(), MailError>>;

    /// Sends a call. The caller is told of the reply, or that none comes.
    ///
    /// # Errors
    /// As [`Peers::send`].
    fn call(
        &self,
        way: Way<'_>,
        caller: Caller,
        bytes: Vec<u8>,
        time_limit: Duration,
    ) -> Result<(), MailError>;

    /// Has this host told when the process `to` ends: [`Table::ended_afar`] for `from`. If that
    /// host is lost, [`Table::lost_host`] says so.
    fn watch<'a>(&'a self, way: Way<'a>) -> Asking<'a, Result<(), NotWatched>>;

    /// The process `from` no longer watches `to`.
    fn forget(&self, way: Way<'_>);

    /// Tells `to`, which watches `from`, of its end.
    fn tell_end(&self, way: Way<'_>, exit: Exit);

    /// Gives a process a name of the cluster.
    fn claim<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
        holder: Pid,
        lost: Lost,
    ) -> Asking<'a, Result<(), NotClaimed>>;

    /// Gives a name of this process back, and waits until others can have it.
    fn release<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
        holder: Pid,
    ) -> Asking<'a, Result<(), Unreachable>>;

    /// Gives a name of this process back, if it has it. Nobody waits for that.
    fn let_go(&self, program: &str, name: &str, holder: Pid);

    /// The process of another host that has this name.
    fn whereis<'a>(
        &'a self,
        program: &'a str,
        name: &'a str,
    ) -> Asking<'a, Result<Option<Pid>, Unreachable>>;
}

/// No other hosts.
#[derive(Debug)]
pub(crate) struct Alone;

/// The name of a host that is alone.
const ALONE: &str = "host";

impl Peers for Alone {
    fn here(&self) -> u32 {
        0
    }

    fn attach(&self, _program: &str, _table: Weak<Table>) {}

    fn hosts(&self, _program: &str) -> Vec<PeerInfo> {
        vec![PeerInfo {
            number: 0,
            name: ALONE.to_owned(),
            root: None,
        }]
    }

    fn send(&self, _way: Way<'_>, _letter: Letter) -> Result<(), MailError> {
        Err(MailError::NoProcess)
    }

    fn send_wait<'a>(
        &'a self,
        _way: Way<'a>,
        _letter: Letter,
        _time_limit: Duration,
    ) -> Asking<'a, Result<(), MailError>> {
        Box::pin(async { Err(MailError::NoProcess) })
    }

    fn call(
        &self,
        _way: Way<'_>,
        _caller: Caller,
        _bytes: Vec<u8>,
        _time_limit: Duration,
    ) -> Result<(), MailError> {
        Err(MailError::NoProcess)
    }

    fn watch<'a>(&'a self, _way: Way<'a>) -> Asking<'a, Result<(), NotWatched>> {
        Box::pin(async { Err(NotWatched::NoProcess) })
    }

    fn forget(&self, _way: Way<'_>) {}

    fn tell_end(&self, _way: Way<'_>, _exit: Exit) {}

    fn claim<'a>(
        &'a self,
        _program: &'a str,
        _name: &'a str,
        _holder: Pid,
        _lost: Lost,
    ) -> Asking<'a, Result<(), NotClaimed>> {
        Box::pin(async { Ok(()) })
    }

    fn release<'a>(
        &'a self,
        _program: &'a str,
        _name: &'a str,
        _holder: Pid,
    ) -> Asking<'a, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    fn let_go(&self, _program: &str, _name: &str, _holder: Pid) {}

    fn whereis<'a>(
        &'a self,
        _program: &'a str,
        _name: &'a str,
    ) -> Asking<'a, Result<Option<Pid>, Unreachable>> {
        Box::pin(async { Ok(None) })
    }
}
