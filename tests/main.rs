//! Tests the host from outside. Every test starts its own server and uses a public interface: HTTP,
//! the command line, or the library.
//!
//! No test sleeps to wait for an event: it waits for a condition, and gives up after
//! [`support::PATIENCE`]. Tests share no port and no folder.

mod support;

// What the default worker answers, and the same in every mode.
mod files;
mod modes;
mod requests;

// What goes wrong, and whom it touches.
mod crashes;
mod escape;
mod fuzz;
mod hostile;
mod limits;
mod overload;
mod stubs;

// Programs: processes that talk, what becomes of them, and how they serve.
mod crowds;
mod programs;
mod run;
mod talk;
mod trees;

// The doors beside HTTP.
mod architecture;
mod bench;
mod cli;
mod examples;
mod library;
mod logs;
mod stopping;
