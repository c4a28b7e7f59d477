//! Every model holds in every order, and every fault is found.

use std::time::Instant;

use wasm_pool_models::check::{self, Model, Mutant, Searched};
use wasm_pool_models::{
    CALLS_MUTANTS, CLOCK_MUTANTS, MAILBOX_MUTANTS, POOL_MUTANTS, ROW_MUTANTS, SCHEDULER_MUTANTS,
};
use wasm_pool_models::{calls, clock, mailbox, pool, row, scheduler};

#[test]
fn scheduler() {
    all_hold(scheduler::MODELS);
}

#[test]
fn clock() {
    all_hold(clock::MODELS);
}

#[test]
fn mailbox() {
    all_hold(mailbox::MODELS);
}

#[test]
fn calls() {
    all_hold(calls::MODELS);
}

#[test]
fn pool() {
    all_hold(pool::MODELS);
}

#[test]
fn row() {
    all_hold(row::MODELS);
}

#[test]
fn faults_in_the_scheduler_are_found() {
    all_are_found(SCHEDULER_MUTANTS);
}

#[test]
fn faults_in_the_clock_are_found() {
    all_are_found(CLOCK_MUTANTS);
}

#[test]
fn faults_in_the_mailbox_are_found() {
    all_are_found(MAILBOX_MUTANTS);
}

#[test]
fn faults_in_the_calls_are_found() {
    all_are_found(CALLS_MUTANTS);
}

#[test]
fn faults_in_the_pool_are_found() {
    all_are_found(POOL_MUTANTS);
}

#[test]
fn faults_in_the_row_are_found() {
    all_are_found(ROW_MUTANTS);
}

fn all_hold(models: &[Model]) {
    for model in models {
        let start = Instant::now();
        let Searched { runs, stops } = check::holds(*model);
        let reach = stops.map_or("all orders".into(), |stops| format!("{stops} stops"));
        println!(
            "{}: {reach}, {runs} runs in {:?}",
            model.name,
            start.elapsed()
        );
        assert!(runs > 1, "{}: there is nothing to choose", model.name);
    }
}

fn all_are_found(mutants: &[Mutant]) {
    for mutant in mutants {
        let fault = mutant.fault;
        assert!(
            mutant.applies,
            "the text that this fault replaces is not in the file any more: {fault}"
        );
        assert!(
            check::fails(mutant.models),
            "no model finds this fault: {fault}"
        );
    }
}
