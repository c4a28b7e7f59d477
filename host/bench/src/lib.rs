//! The bench measures servers and programs as child processes, from outside. It has three front
//! ends: [`structurings`] is the program's command `bench`, [`compare`] is `make compare`, and
//! [`messages`] measures message passing. Each is a list of contestants and of cases. They share
//! one load, one document of results, one table and one chart. The host's peers are in
//! `host/bench/peers`.

// Front ends.
pub mod compare;
pub mod messages;
pub mod structurings;

// Quantities, results, and their presentation.
mod chart;
mod findings;
mod numbers;
pub mod outputs;
mod progress;
mod quantities;
mod results;
mod table;

// How it is measured.
mod beam;
mod client;
mod kernel;
mod limits;
mod load;
mod process;
mod server;

// The host without HTTP.
pub mod handler;
