//! *Series* of samples, one per round, of the servers that are compared.

use std::time::Duration;

use crate::load::Sample;
use crate::report::{self, Target};

/// What was measured of one server, round by round.
pub(crate) struct Series {
    name: &'static str,
    samples: Vec<Sample>,
}

/// One line per series: medians over the rounds, and how far the rounds' rates lie apart.
pub(crate) fn table(series: &[&Series]) {
    println!(
        "  {:<34} {:>10} {:>9} {:>9} {:>8}",
        "", "requests/s", "p50", "p99", "spread"
    );
    for one in series {
        println!(
            "  {:<34} {:>10.0} {:>6.2} ms {:>6.2} ms {:>6.1} %",
            one.name,
            report::median(one.each(|sample| sample.per_second)),
            report::median(one.each(|sample| millis(sample.p50))),
            report::median(one.each(|sample| millis(sample.p99))),
            report::spread(one.each(|sample| sample.per_second)),
        );
    }
}

impl Series {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    /// The median of the rounds' ratios.
    pub(crate) fn ratio(&self, name: &str, to: &Self, of: fn(&Sample) -> f64, target: Target) {
        report::ratio(name, &self.each(of), &to.each(of), target);
    }

    fn each(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
