//! Failures of a process: its own client gets a status and the request's number, the log gets the
//! reason, and all other clients notice nothing.

mod leaving;
mod others;
mod starts;
mod told;
