//! What one process does to itself: its own client gets a status and a request's number, the log
//! gets the reason, and everybody else notices nothing.

mod leaving;
mod others;
mod starts;
mod told;
