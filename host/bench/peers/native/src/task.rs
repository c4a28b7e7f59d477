//! The *task* of a request in the crash drill: its answerer answers at once, waits, or crashes.

use std::thread;
use std::time::Duration;

/// From the request that crashes until the crash. All others are sent meanwhile, on a busy machine,
/// too.
pub const CRASH_AFTER: Duration = Duration::from_millis(200);

/// How long the others take: they arrive before the crash, and are answered well after it.
pub const WAIT: Duration = Duration::from_millis(500);

/// The wish of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// An answer at once.
    Answer,
    /// An answer after [`WAIT`].
    Wait,
    /// A crash after [`CRASH_AFTER`].
    Crash,
}

impl Task {
    /// Its name in a path, and as an argument.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Wait => "wait",
            Self::Crash => "crash",
        }
    }

    /// The path of such a request.
    #[must_use]
    pub fn path(self) -> String {
        format!("/{}", self.word())
    }

    /// Unknown words are ordinary requests.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "wait" => Self::Wait,
            "crash" => Self::Crash,
            _ => Self::Answer,
        }
    }

    /// Does the task, in a native thread or process.
    pub(crate) fn perform(self) {
        match self {
            Self::Answer => {}
            Self::Wait => thread::sleep(WAIT),
            Self::Crash => {
                thread::sleep(CRASH_AFTER);
                std::process::abort();
            }
        }
    }
}
