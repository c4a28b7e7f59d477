//! HTTP as nobody should speak it: the server answers or closes, never hangs, never mixes up two
//! requests, and has time for others.

mod greedy;
mod malformed;
mod unusual;
