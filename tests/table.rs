//! The table of behaviour, run over each kind of module in Rust.

use crate::support::server::guest;
use crate::support::table::{FLAGS, SPIN_FLAGS, behaves, spins};

#[test]
fn of_our_contract() {
    behaves(&guest("ours", FLAGS), "/table");
    spins(&guest("ours", SPIN_FLAGS), "/table");
}

#[test]
fn of_our_contract_per_request() {
    behaves(
        &guest("ours", &format!("{FLAGS} --mode per-request")),
        "/table",
    );
}

#[test]
fn of_wasi_http_02() {
    behaves(&guest("http02", FLAGS), "/table");
    spins(&guest("http02", SPIN_FLAGS), "/table");
}

#[test]
fn of_wasi_http_02_reused() {
    behaves(&guest("http02", &format!("{FLAGS} --reuse")), "/table");
}

#[test]
fn of_wasi_http_03() {
    behaves(&guest("http03", FLAGS), "/table");
    spins(&guest("http03", SPIN_FLAGS), "/table");
}

#[test]
fn of_wasi_http_03_per_request() {
    behaves(
        &guest("http03", &format!("{FLAGS} --mode per-request")),
        "/table",
    );
}

#[test]
fn of_commands() {
    behaves(&guest("commander", FLAGS), "/table");
    spins(&guest("commander", SPIN_FLAGS), "/table");
}
