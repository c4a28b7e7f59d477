//! *Queues* keep jobs that must outlive their process and their host. The floors of processes know
//! this trait only, and whoever is above hands in a cluster. A host that is alone has no queues:
//! what it kept would end with it.

use std::fmt;
use std::time::Duration;

use crate::peers::{Alone, Asking};

/// The most jobs that one process has.
pub(crate) const MAX_JOBS: usize = 64;

/// The longest time before which nobody gets a job that was given back.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(60 * 60);

/// The longest name of a queue, in bytes.
const MAX_NAME: usize = 64;

/// Behind the name of a queue: its dead letters.
const DEAD: &str = ".dead";

/// The name of a queue. Guests choose names, so only plain ones are names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Queue<'a> {
    /// The name, without what says that these are the dead letters.
    pub(crate) name: &'a str,
    /// Whether these are jobs that were tried in vain.
    pub(crate) is_dead: bool,
}

/// Why a call about jobs has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueError {
    NoCluster,
    /// Nobody knows what has become of the call.
    Unreachable,
    InvalidName,
    TooLarge,
    NoRoom,
    TooManyJobs,
    NotYours,
}

/// A job for a process.
#[derive(Debug)]
pub(crate) struct Job {
    /// How many times it was taken.
    pub(crate) attempt: u32,
    pub(crate) bytes: Vec<u8>,
    pub(crate) taken: Box<dyn Taken>,
}

/// The right to say that a job is done. Dropping it gives the job back at once, if it is not done.
pub(crate) trait Taken: Send + Sync + fmt::Debug {
    /// Removes the job from its queue.
    fn done(&self) -> Asking<'_, Result<(), QueueError>>;

    /// Gives the job back: nobody gets it before this time is over.
    fn give_back(self: Box<Self>, delay: Duration);
}

/// The queues of a cluster.
pub(crate) trait Queues: Send + Sync + fmt::Debug {
    /// The most bytes of a job.
    fn most_bytes(&self) -> usize;

    /// Stores a job.
    fn put<'a>(&'a self, queue: Queue<'a>, bytes: Vec<u8>) -> Asking<'a, Result<(), QueueError>>;

    /// Takes a job, or waits for one for at most so long.
    fn take<'a>(
        &'a self,
        queue: Queue<'a>,
        time_limit: Duration,
    ) -> Asking<'a, Result<Option<Job>, QueueError>>;
}

impl<'a> Queue<'a> {
    /// The queue of this name.
    ///
    /// # Errors
    /// [`QueueError::InvalidName`].
    pub(crate) fn parse(text: &'a str) -> Result<Self, QueueError> {
        let (name, is_dead) = match text.strip_suffix(DEAD) {
            Some(name) => (name, true),
            None => (text, false),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain);
        is_name
            .then_some(Self { name, is_dead })
            .ok_or(QueueError::InvalidName)
    }
}

impl fmt::Display for Queue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        f.write_str(if self.is_dead { DEAD } else { "" })
    }
}

impl Queues for Alone {
    fn most_bytes(&self) -> usize {
        usize::MAX
    }

    fn put<'a>(&'a self, _queue: Queue<'a>, _bytes: Vec<u8>) -> Asking<'a, Result<(), QueueError>> {
        Box::pin(async { Err(QueueError::NoCluster) })
    }

    fn take<'a>(
        &'a self,
        _queue: Queue<'a>,
        _time_limit: Duration,
    ) -> Asking<'a, Result<Option<Job>, QueueError>> {
        Box::pin(async { Err(QueueError::NoCluster) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        let long = "x".repeat(MAX_NAME);
        let longer = "x".repeat(MAX_NAME + 1);
        let long_dead = format!("{long}{DEAD}");
        let longer_dead = format!("{longer}{DEAD}");
        #[rustfmt::skip] // one line per case
        let cases = [
            ("mails", Some(("mails", false))),
            ("a-B_9", Some(("a-B_9", false))),
            ("mails.dead", Some(("mails", true))),
            ("dead", Some(("dead", false))),
            (&long, Some((&*long, false))),
            (&long_dead, Some((&*long, true))),
            ("", None),
            (".dead", None),
            ("mails.dead.dead", None),
            ("a.b", None),
            ("a b", None),
            ("*", None),
            (">", None),
            ("ü", None),
            ("a\0", None),
            (&longer, None),
            (&longer_dead, None),
        ];
        for (text, expected) in cases {
            let queue = Queue::parse(text).ok();
            assert_eq!(
                queue.map(|queue| (queue.name, queue.is_dead)),
                expected,
                "{text:?}"
            );
            if let Some(queue) = queue {
                assert_eq!(queue.to_string(), text);
            }
        }
    }
}
