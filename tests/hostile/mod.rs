//! HTTP from hostile clients: the server answers or closes. It never hangs, never mixes up two
//! requests, and has time for others.

mod greedy;
mod malformed;
mod unusual;
