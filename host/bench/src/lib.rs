//! The bench measures servers and programs as child processes, from outside. It has three front
//! ends: [`structurings`] is the program's command `bench`, [`compare`] is `make compare`, and
//! [`messages`] measures talk. They share one load, one guard of servers, one table and one plot.

// Front ends.
pub mod compare;
pub mod messages;
pub mod structurings;

// What is measured beside the host.
pub mod handler;
pub mod native;

// What is measured, and how it is shown.
mod findings;
mod numbers;
mod plot;
mod progress;
mod table;
mod turn;

// How it is measured.
mod client;
mod kernel;
mod limits;
mod load;
mod process;
mod server;
