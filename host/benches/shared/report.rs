//! The *report* of a bench as lines of text: medians over the rounds, ratios and sizes beside their targets.

#[allow(dead_code)] // not every bench shows all of them
#[path = "../../program/src/bench/numbers.rs"]
mod numbers;

#[allow(unused_imports)] // as above
pub(crate) use numbers::{median, spread, whole};

/// What a value should be, and what it is to become.
#[derive(Clone, Copy)]
#[allow(dead_code)] // not every bench has a target of each kind
pub(crate) enum Target {
    AtLeast { least: f64, aim: f64 },
    AtMost { most: f64, aim: f64 },
    None,
}

#[allow(dead_code)] // one bench writes tables of its own
pub(crate) fn heading(text: &str) {
    println!("\n{text}");
}

/// One value beside its target.
pub(crate) fn value(name: &str, value: f64, unit: &str, target: Target) {
    println!(
        "  {name:<44} {value:>8.2} {unit:<3}  {}",
        target.verdict(value)
    );
}

/// The median of the rounds' ratios: both sides of each are from the same few seconds.
#[allow(dead_code)] // as above
pub(crate) fn ratio(name: &str, over: &[f64], under: &[f64], target: Target) {
    value(name, median_ratio(over, under), "", target);
}

pub(crate) fn median_ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios = over.iter().zip(under).map(|(over, under)| over / under);
    median(ratios.collect())
}

#[allow(dead_code)] // as with the kinds
impl Target {
    pub(crate) const fn at_least(least: f64, aim: f64) -> Self {
        Self::AtLeast { least, aim }
    }

    pub(crate) const fn at_most(most: f64, aim: f64) -> Self {
        Self::AtMost { most, aim }
    }

    /// A value that is none misses every target.
    pub(crate) fn verdict(self, value: f64) -> String {
        let (word, target, aim, is_met, is_there) = match self {
            Self::AtLeast { least, aim } => ("least", least, aim, value >= least, value >= aim),
            Self::AtMost { most, aim } => ("most", most, aim, value <= most, value <= aim),
            Self::None => return String::new(),
        };
        let verdict = match (is_met, is_there) {
            (true, true) if target != aim => "met, and the aim",
            (true, _) => "met",
            (false, _) => "MISSED",
        };
        let aim = if target == aim {
            String::new()
        } else {
            format!(", aim {aim}")
        };
        format!("at {word} {target}{aim}: {verdict}")
    }
}
