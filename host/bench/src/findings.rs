//! *Findings*: values that have targets, each with its name and its verdict.

use serde::{Deserialize, Serialize};

use crate::numbers::significant;
use crate::table::{MISSING, Row, Section, Table};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    /// Nothing where it could not be measured.
    value: Option<f64>,
    unit: String,
    /// The target and whether it is met, or why there is no value.
    verdict: String,
}

/// What a value should be (the number that must be met), and what it is to become (the aim).
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64, Aim),
    AtMost(f64, Aim),
    None,
}

type Aim = f64;

impl Finding {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &str, target: Target) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit: unit.into(),
            verdict: target.verdict(value),
        }
    }

    pub(crate) fn missing(name: impl Into<String>, why: &str) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit: String::new(),
            verdict: format!("not measured: {why}"),
        }
    }

    fn row(&self) -> Row {
        let value = self.value.map_or(MISSING.into(), significant);
        let value = format!("{value} {}", self.unit).trim_end().to_owned();
        Row::new(&self.name, vec![value, self.verdict.clone()])
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
        let aim = if has_aim {
            format!(", aim {aim}")
        } else {
            String::new()
        };
        format!("at {word} {target}{aim}: {verdict}")
    }
}

pub(crate) fn table(title: &str, findings: &[Finding]) -> Table {
    let rows = findings.iter().map(Finding::row).collect();
    Table::new(&["value", "target"], vec![Section::new(title, rows)])
}
