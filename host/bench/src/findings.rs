//! *Findings*: values that have targets, each with its name and its verdict.

use serde::{Deserialize, Serialize};

use crate::numbers::{median, median_ratio, shown};
use crate::quantities::label;
use crate::results::{Place, Results};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    /// None if it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: String,
    /// The target and whether it is met, or the reason why there is no value.
    pub(crate) verdict: String,
}

/// The number that must be met, and the number to reach later (the aim).
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64, Aim),
    AtMost(f64, Aim),
    None,
}

type Aim = f64;

impl Results {
    /// Judges the ratio of a quantity between two contestants, round by round.
    pub(crate) fn find_ratio(
        &mut self,
        case: &str,
        [over, under]: [&str; 2],
        quantity: &str,
        target: Target,
    ) {
        let rounds = |one| {
            self.rounds((one, case), quantity)
                .ok_or(format!("no {one}"))
        };
        let ratio = rounds(over).and_then(|over| Ok(median_ratio(over, rounds(under)?)));
        let what = label(quantity).split(", ").next().unwrap_or_default();
        let name = format!("{case}: {over} / {under}, {what}");
        self.find(name, ratio, "", target);
    }

    /// Judges the median of a quantity.
    pub(crate) fn find_median(&mut self, place: Place<'_>, quantity: &str, target: Target) {
        let rounds = self.rounds(place, quantity).ok_or("no figure".to_owned());
        let value = rounds.map(|rounds| median(rounds.to_vec()));
        let (contestant, case) = place;
        let unit = label(quantity).rsplit(", ").next().unwrap_or_default();
        self.find(format!("{case}: {contestant}"), value, unit, target);
    }

    /// Judges the median of values that no contestant has alone.
    pub(crate) fn find_value(&mut self, name: &str, rounds: Vec<f64>, unit: &str, target: Target) {
        self.find(name.to_owned(), Ok(median(rounds)), unit, target);
    }

    fn find(&mut self, name: String, value: Result<f64, String>, unit: &str, target: Target) {
        let verdict = match &value {
            Ok(value) => target.verdict(*value),
            Err(why) => format!("not measured: {why}"),
        };
        self.findings.push(Finding {
            name,
            value: value.ok(),
            unit: unit.into(),
            verdict,
        });
    }
}

impl Target {
    /// A value that is not a number misses every target.
    fn verdict(self, value: f64) -> String {
        let (word, target, aim, is_met, is_there) = match self {
            Self::AtLeast(least, aim) => ("least", least, aim, value >= least, value >= aim),
            Self::AtMost(most, aim) => ("most", most, aim, value <= most, value <= aim),
            Self::None => return String::new(),
        };
        let has_aim = (target - aim).abs() > f64::EPSILON;
        let verdict = match (is_met, is_there) {
            (true, true) if has_aim => "met, and the aim",
            (true, _) => "met",
            (false, _) => "MISSED",
        };
        let aim = has_aim.then(|| format!(", aim {aim}"));
        format!("at {word} {target}{}: {verdict}", aim.unwrap_or_default())
    }
}

impl Finding {
    /// The value with its unit.
    pub(crate) fn shown(&self) -> Option<String> {
        let value = self.value.map(shown)?;
        Some(format!("{value} {}", self.unit).trim_end().to_owned())
    }
}
