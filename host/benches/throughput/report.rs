//! The *report*: series of samples, one per round, as lines of text; ratios and sizes beside their targets.

use std::time::Duration;

use crate::load::Sample;

/// What was measured of one server, round by round.
pub(crate) struct Series {
    name: &'static str,
    samples: Vec<Sample>,
}

/// What a value should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    None,
}

pub(crate) fn heading(text: &str) {
    println!("\n{text}");
}

/// One line per series: medians over the rounds, and how far the rounds' rates lie apart.
pub(crate) fn table(series: &[&Series]) {
    println!(
        "  {:<34} {:>10} {:>9} {:>9} {:>8}",
        "", "requests/s", "p50", "p99", "spread"
    );
    for one in series {
        let rates = one.each(|sample| sample.per_second);
        let (low, high) = rates
            .iter()
            .fold((f64::MAX, f64::MIN), |(low, high), &rate| {
                (low.min(rate), high.max(rate))
            });
        let rate = median(rates);
        println!(
            "  {:<34} {:>10.0} {:>6.2} ms {:>6.2} ms {:>6.1} %",
            one.name,
            rate,
            median(one.each(|sample| millis(sample.p50))),
            median(one.each(|sample| millis(sample.p99))),
            (high - low) / rate * 100.0,
        );
    }
}

/// One value beside its target.
pub(crate) fn value(name: &str, value: f64, unit: &str, target: Target) {
    println!(
        "  {name:<36} {value:>8.2} {unit:<3}  {}",
        target.verdict(value)
    );
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

    /// The median of the rounds' ratios: both sides of each are from the same few seconds.
    pub(crate) fn ratio(&self, name: &str, to: &Self, of: fn(&Sample) -> f64, target: Target) {
        let (over, under) = (self.each(of), to.each(of));
        let ratios = over.iter().zip(under).map(|(over, under)| over / under);
        value(name, median(ratios.collect()), "", target);
    }

    fn each(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }
}

impl Target {
    fn verdict(self, value: f64) -> String {
        let (is_met, text) = match self {
            Self::AtLeast(least) => (value >= least, format!("target: at least {least}")),
            Self::AtMost(most) => (value <= most, format!("target: at most {most}")),
            Self::None => return String::new(),
        };
        format!("{text}{}", if is_met { ", met" } else { ", MISSED" })
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => f64::NAN,
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => (values[middle - 1] + upper) / 2.0,
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
