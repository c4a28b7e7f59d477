//! *Figures*: how long each operation took with messages of each size, round by round; and rows of
//! them.

use anyhow::Context;
use serde_json::Value;

use crate::numbers::{median, significant, spread};
use crate::table::Row;

/// The sizes of messages, in bytes, as in `examples/pingpong`. 0 is that of operations without any.
pub(crate) const SIZES: [usize; 3] = [8, 1024, 64 * 1024];
pub(crate) const NO_SIZE: usize = 0;

/// What stands above the rows: a column for each size, and how far the rounds lie apart.
pub(crate) const HEAD: [&str; 5] = ["no bytes", "8 B", "1 KiB", "64 KiB", "spread"];

/// In the order in which the operations came.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

struct Figure {
    operation: String,
    bytes: usize,
    /// Microseconds, one per round.
    rounds: Vec<f64>,
}

impl Figures {
    /// Adds a round: lines of JSON, as `examples/pingpong` prints them.
    pub(crate) fn add_lines(&mut self, lines: &str) -> anyhow::Result<()> {
        for line in lines.lines() {
            let value: Value = serde_json::from_str(line)?;
            let figure = value["operation"].as_str().and_then(|operation| {
                let bytes = usize::try_from(value["bytes"].as_u64()?).ok()?;
                Some((operation, bytes, value["us"].as_f64()?))
            });
            let (operation, bytes, us) = figure.with_context(|| format!("no figure: {line}"))?;
            self.add(operation, bytes, us);
        }
        Ok(())
    }

    pub(crate) fn add(&mut self, operation: &str, bytes: usize, us: f64) {
        match self.0.iter_mut().find(|one| one.is(operation, bytes)) {
            Some(figure) => figure.rounds.push(us),
            None => self.0.push(Figure {
                operation: operation.into(),
                bytes,
                rounds: vec![us],
            }),
        }
    }

    /// One value per round; none if it wasn't measured.
    pub(crate) fn of(&self, operation: &str, bytes: usize) -> &[f64] {
        let figure = self.0.iter().find(|one| one.is(operation, bytes));
        figure.map_or(&[], |figure| &figure.rounds)
    }

    /// All operations but those that have tables of their own.
    pub(crate) fn operations_but(&self, others: &[&str]) -> Vec<&str> {
        let all = self.0.iter().map(|figure| figure.operation.as_str());
        let mut operations: Vec<&str> = all.filter(|one| !others.contains(one)).collect();
        operations.dedup();
        operations
    }

    /// Medians over the rounds, and how far these lie apart, at the size where they do so most.
    pub(crate) fn row(&self, name: &str, operation: &str) -> Row {
        let rounds = [NO_SIZE]
            .iter()
            .chain(&SIZES)
            .map(|&bytes| self.of(operation, bytes));
        let mut most = 0.0_f64;
        let mut cells: Vec<_> = rounds
            .map(|rounds| match rounds {
                [] => String::new(),
                rounds => {
                    most = most.max(spread(rounds.to_vec()));
                    significant(median(rounds.to_vec()))
                }
            })
            .collect();
        cells.push(format!("{most:.1} %"));
        Row::new(name, cells)
    }
}

impl Figure {
    fn is(&self, operation: &str, bytes: usize) -> bool {
        self.operation == operation && self.bytes == bytes
    }
}
