//! *Models*: the files of the host that wait and wake by hand, run under a model checker on small
//! cases. A model says what must come true in whatever order the steps of its threads fall. The
//! files are the host's own, included as they are; only `crate::sync` is another.
//!
//! A model must be able to fail. So each file is included some times more with a fault put in, a
//! *mutant*, and its models must find that fault. `faults.rs` has the list.

pub mod check;
mod sync;

// What the files use besides.
mod call;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/exit.rs"]
mod exit;
mod message;
#[allow(warnings, clippy::all)]
#[path = "../../../host/src/pid.rs"]
mod pid;
mod process;
mod supervisor;
mod threads;

// The models of a file are compiled with each version of the file.
#[allow(clippy::duplicate_mod)]
mod included {
    use crate::check;

    include!(concat!(env!("OUT_DIR"), "/included.rs"));
}

pub use included::*;
