//! The table of behaviour, run over each kind of module in Rust.

use crate::support::server::guest;
use crate::support::table::{FLAGS, SPIN_FLAGS, behaves, spins};

#[test]
fn of_our_contract() {
    holds("ours", "");
    spins(&guest("ours", SPIN_FLAGS), "/table");
}

#[test]
fn of_our_contract_per_request() {
    holds("ours", "--mode per-request");
}

#[test]
fn of_wasi_http_02() {
    holds("http02", "");
    spins(&guest("http02", SPIN_FLAGS), "/table");
}

#[test]
fn of_wasi_http_02_reused() {
    holds("http02", "--reuse");
}

#[test]
fn of_wasi_http_03() {
    holds("http03", "");
    spins(&guest("http03", SPIN_FLAGS), "/table");
}

#[test]
fn of_wasi_http_03_per_request() {
    holds("http03", "--mode per-request");
}

#[test]
fn of_commands() {
    holds("commander", "");
    spins(&guest("commander", SPIN_FLAGS), "/table");
}

fn holds(name: &str, flags: &str) {
    behaves(&guest(name, &format!("{FLAGS} {flags}")), "/table", 502);
}
