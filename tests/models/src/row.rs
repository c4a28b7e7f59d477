//! The row of a process: the thread that runs the process learns of a kill.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread;

use super::tested::{Identity, Row};
use crate::kind::Kind;
use crate::check::Model;
use crate::pid::Pid;

/// All models of the row.
pub const MODELS: &[Model] = &[
    Model {
        name: "a kill wakes whoever runs the process",
        run: || killed(1),
    },
    Model {
        name: "two kills wake whoever runs the process",
        run: || killed(2),
    },
];

fn killed(times: usize) {
    let row = Arc::new(Row::new(Identity {
        pid: Pid::new(1).expect("nobody has 0"),
        parent: None,
        kind: Kind::Handler,
        pool: 0,
    }));
    for _ in 0..times {
        let row = Arc::clone(&row);
        thread::spawn(move || row.kill());
    }
    block_on(row.killed());
    assert!(row.is_killed());
}
