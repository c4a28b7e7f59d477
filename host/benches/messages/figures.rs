//! *Figures*: how long each operation took with messages of each size, round by round; and tables of them.

use anyhow::Context;
use serde_json::Value;

use crate::report;

/// The sizes of messages, in bytes, as in `examples/pingpong`. 0 is that of operations without any.
pub(crate) const SIZES: &[usize] = &[8, 1024, 64 * 1024];
pub(crate) const NO_SIZE: usize = 0;

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

    /// A line with a cell for each size: medians over the rounds. Then how far these lie apart, at the size
    /// where they do so most.
    pub(crate) fn line(&self, name: &str, operation: &str) {
        let rounds = |bytes| self.of(operation, bytes);
        let cells = columns(|bytes| match rounds(bytes) {
            [] => String::new(),
            rounds => significant(report::median(rounds.to_vec())),
        });
        let spreads = sizes().map(|bytes| match rounds(bytes) {
            [] => 0.0,
            rounds => report::spread(rounds.to_vec()),
        });
        let most = spreads.fold(0.0, f64::max);
        println!("  {name:<28} {cells} {most:>7.1} %");
    }
}

impl Figure {
    fn is(&self, operation: &str, bytes: usize) -> bool {
        self.operation == operation && self.bytes == bytes
    }
}

/// What stands above the lines.
pub(crate) fn head() {
    let cells = columns(|bytes| match (bytes, bytes / 1024) {
        (NO_SIZE, _) => "no bytes".into(),
        (_, 0) => format!("{bytes} B"),
        (_, kib) => format!("{kib} KiB"),
    });
    println!("  {:<28} {cells} {:>9}", "µs", "spread");
}

fn columns(cell: impl Fn(usize) -> String) -> String {
    sizes().map(|bytes| format!("{:>9}", cell(bytes))).collect()
}

fn sizes() -> impl Iterator<Item = usize> {
    [NO_SIZE].into_iter().chain(SIZES.iter().copied())
}

/// Three digits that count; the rest is noise.
fn significant(us: f64) -> String {
    let decimals = (2.0 - us.log10().floor()).clamp(0.0, 5.0) as usize;
    format!("{us:.decimals$}")
}
