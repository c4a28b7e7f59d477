use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::running::Running;

/// Longer than any test here takes.
const TIME_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn guests_run_while_a_slice_does() {
    let running = Running::<2>::new();
    let clock = thread::current();
    let mut begun = 0;
    assert!(running.is_idle(&mut begun), "nobody has begun");
    let one = running.begin(0, &clock, || 0);
    let other = running.begin(1, &clock, || 0);
    drop(one);
    assert!(!running.is_idle(&mut begun), "one runs");
    assert!(!running.is_idle(&mut begun), "one still runs");
    drop(other);
    assert!(running.is_idle(&mut begun), "both have ended");
    drop(running.begin(0, &clock, || 0));
    assert!(!running.is_idle(&mut begun), "one has run since");
    assert_eq!(begun, 3);
}

#[test]
fn a_slice_knows_the_time_of_the_last_tick() {
    let running = Running::<1>::new();
    running.set_now(7);
    drop(running.begin(0, &thread::current(), || panic!("the clock does not rest")));
    assert_eq!(running.since_ms(0), 7);
}

#[test]
fn the_clock_does_not_rest_where_a_slice_has_begun() {
    let running = Running::<1>::new();
    let _slice = running.begin(0, &thread::current(), || 0);
    running.rest(0, || 5); // and the test goes on
    drop(running.begin(0, &thread::current(), || panic!("the clock does not rest")));
    assert_eq!(running.since_ms(0), 5);
}

#[test]
fn a_slice_wakes_the_clock() {
    let running = Arc::new(Running::<1>::new());
    let (rested, has_rested) = mpsc::channel();
    let clock = thread::spawn({
        let running = Arc::clone(&running);
        move || {
            running.rest(0, || 5);
            rested.send(()).expect("the test waits");
        }
    });
    let _slice = running.begin(0, clock.thread(), || 5);
    assert_eq!(has_rested.recv_timeout(TIME_LIMIT), Ok(()));
}
