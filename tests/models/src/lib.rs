//! *Models*: the files of the host with hand-written waiting and waking, run under a model checker
//! on small cases. A model states what is true in every order of its threads' steps. The files are
//! the host's own, included unchanged; only `crate::sync` is replaced.
//!
//! A model must be able to fail. So each file is also included with faults put in, each a *mutant*.
//! The file's models must find every fault. `faults.rs` has the list.

pub mod check;
mod sync;

// Other modules that the files use.
mod call;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/exit.rs"]
mod exit;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/kind.rs"]
mod kind;
mod message;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/pid.rs"]
mod pid;
mod process;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/shutdown.rs"]
mod shutdown;
mod supervisor;
mod tally;
mod threads;

// The models of a file are compiled with each version of the file.
#[allow(clippy::duplicate_mod)]
mod included {
    use crate::check;

    include!(concat!(env!("OUT_DIR"), "/included.rs"));
}

pub use included::*;
