//! *Findings*: values that have targets, each with what it is called and how it did.

use serde::{Deserialize, Serialize};

use crate::contestants::Contestant::{self, *};
use crate::matrix::{Cell, Entry, Turn};
use crate::report::{self, Target};
use crate::site::Size;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    /// None where it could not be measured.
    pub(crate) value: Option<f64>,
    pub(crate) unit: String,
    /// The target and whether it is met, or why there is no value.
    pub(crate) verdict: String,
}

impl Finding {
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &str, target: Target) -> Self {
        Self {
            name: name.into(),
            value: Some(value),
            unit: unit.into(),
            verdict: target.verdict(value),
        }
    }

    pub(crate) fn none(name: impl Into<String>, why: String) -> Self {
        Self {
            name: name.into(),
            value: None,
            unit: String::new(),
            verdict: format!("not measured: {why}"),
        }
    }
}

/// The ratios of requests per second that have targets, all at 32 connections that are kept: what is divided,
/// by what, at which size, and what is wanted.
const RATIOS: &[(Contestant, Contestant, Size, Target)] = &[
    (Pool, Native, Size::Kib1, Target::at_least(1.0, 1.25)),
    (Pool, Ceiling, Size::Kib1, Target::at_least(0.65, 0.8)),
    (Pool, Nginx, Size::Kib1, Target::at_least(1.2, 1.2)),
    (Pool, NginxCached, Size::Kib1, Target::None),
    (Pool, Nginx, Size::Kib64, Target::at_least(1.0, 1.0)),
    (Pool, Nginx, Size::Mib1, Target::at_least(1.3, 1.3)),
    (Pool, Nginx, Size::Mib100, Target::at_least(1.0, 1.0)),
    (Pool, WasmtimeReused, Size::Kib1, Target::at_least(1.6, 1.6)),
    (Pool, Wasmtime, Size::Kib1, Target::at_least(9.0, 9.0)),
    (PerRequest, Pool, Size::Kib1, Target::at_least(0.85, 0.92)),
    (PerRequest, Wasmtime, Size::Kib1, Target::at_least(7.0, 7.0)),
];

pub(crate) fn ratios(entries: &[Entry]) -> Vec<Finding> {
    let each = |contestant: Contestant, size| {
        let cell = Cell::target(size);
        let mut entries = entries.iter();
        let entry = entries.find(|one| one.contestant == contestant && one.cell == cell);
        let rounds = entry.map(|entry| entry.each(|turn: &Turn| turn.requests_per_second));
        rounds.filter(|rounds| !rounds.is_empty())
    };
    let finding = |&(over, under, size, target): &(Contestant, Contestant, Size, Target)| {
        let name = format!("{} / {}, {}", over.name(), under.name(), size.name());
        match (each(over, size), each(under, size)) {
            (Some(over), Some(under)) => {
                Finding::new(name, report::median_ratio(&over, &under), "", target)
            }
            (None, _) => Finding::none(name, format!("no {}", over.name())),
            (_, None) => Finding::none(name, format!("no {}", under.name())),
        }
    };
    RATIOS.iter().map(finding).collect()
}
