//! Tests the host from outside. Every test starts its own server and uses a public interface: HTTP,
//! the command line, or the library.
//!
//! No test sleeps to wait for an event: it waits for a condition, and gives up after
//! [`support::PATIENCE`]. Tests share no port and no folder.

mod support;

// The answers of the default worker, in every mode.
mod files;
mod modes;
mod requests;

// What is spoken on connections, and by whom.
mod confine;
mod connections;
mod doors;
mod http2;
mod proxies;

// Failures, and the clients that they affect.
mod crashes;
mod escape;
mod fuzz;
mod hostile;
mod limits;
mod overload;
mod slow;
mod stubs;

// Modules of other contracts: commands, which answer by CGI, and `wasi:http`.
mod cgi;
mod foreign;
mod table;

// Programs: processes that send messages, their ends, and how they serve.
mod crowds;
mod programs;
mod run;
mod talk;
mod trees;

// What guests find around them, and whom they may ask.
mod environment;
mod outbound;

// Several modules in one host, the file that says so, and a host that is steered.
mod admin;
mod config;
mod day;
mod dumps;
mod page;
mod pools;
mod reload;
mod steering;
mod traced;

// Many hosts with one pool, on NATS.
mod cluster;

// The other interfaces.
mod architecture;
mod bench;
mod cache;
mod cli;
mod dist;
mod docs;
mod examples;
mod languages;
mod library;
mod logs;
mod stopping;
mod watch;
