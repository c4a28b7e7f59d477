//! The *control* of a running host: an HTTP API on a Unix socket that only its user can reach. The
//! same program is its client.
//!
//! The socket says who may steer: its folder and the socket itself are the user's alone, and each
//! client's user is checked again when it connects.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod events;
mod place;
mod server;
pub(crate) mod steering;

pub(crate) use place::Place;
pub(crate) use server::Control;
pub(crate) use steering::Steering;
