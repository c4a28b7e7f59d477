//! The *results* of an experiment: *contestants* are measured in *cases*, over several rounds, and
//! each round yields a value for each quantity. A *figure* is the median of these values, with
//! their spread. All front ends fill this one document, keep it as JSON, and show it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::findings::Finding;
use crate::kernel::{self, Machine};
use crate::numbers::median;
use crate::progress::Progress;

/// The values of one turn, each with the name of its quantity (see [`crate::quantities`]).
pub(crate) type Turn = Vec<(&'static str, f64)>;

/// Measures one contestant once.
pub(crate) type Measure<'a> = Box<dyn Fn() -> anyhow::Result<Turn> + 'a>;

/// A contestant and a case.
pub(crate) type Place<'a> = (&'a str, &'a str);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The version of this crate.
    pub(crate) version: String,
    /// The commit of this repository, with a `+` if there were uncommitted changes. Users have no
    /// commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<String>,
    /// The time of the measurement, in UTC.
    pub(crate) date: String,
    /// The command line that repeats the measurement.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    /// The settings, and the versions of the programs that took part.
    pub(crate) setup: Value,
    pub(crate) findings: Vec<Finding>,
    pub(crate) entries: Vec<Entry>,
    /// Remarks on cases.
    pub(crate) notes: Vec<Note>,
    /// Figures that are missing, or that are of fewer rounds.
    pub(crate) not_measured: Vec<Gap>,
}

/// The figures of a contestant in a case.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) contestant: String,
    pub(crate) case: String,
    #[serde(flatten)]
    pub(crate) figures: BTreeMap<String, Figure>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
    /// The spread of the rounds, in percent of the median.
    pub(crate) spread_percent: f64,
    pub(crate) rounds: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) case: String,
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) contestant: String,
    pub(crate) case: String,
    pub(crate) why: String,
}

/// Contestants that take turns in each round, so that other work of the machine affects all of
/// them.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    pub(crate) rounds: usize,
    pub(crate) contestants: Vec<(String, Measure<'a>)>,
    /// Whether an error ends the experiment. Otherwise it becomes a gap.
    pub(crate) is_needed: bool,
}

impl<'a> Case<'a> {
    pub(crate) fn new(name: impl Into<String>, rounds: usize) -> Self {
        Self {
            name: name.into(),
            rounds,
            contestants: Vec::new(),
            is_needed: true,
        }
    }

    pub(crate) fn with(
        mut self,
        contestant: impl Into<String>,
        measure: impl Fn() -> anyhow::Result<Turn> + 'a,
    ) -> Self {
        self.contestants
            .push((contestant.into(), Box::new(measure)));
        self
    }

    pub(crate) fn turns(&self) -> usize {
        self.rounds * self.contestants.len()
    }
}

impl Results {
    pub(crate) fn new(command: String, setup: Value) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: None,
            date: kernel::date(),
            command,
            machine: Machine::this(),
            setup,
            findings: Vec::new(),
            entries: Vec::new(),
            notes: Vec::new(),
            not_measured: Vec::new(),
        }
    }

    /// The origin of the figures, in a line each: place, time, version and settings.
    pub(crate) fn origin(&self) -> [String; 3] {
        let setting = |(name, value): (&String, &Value)| match value.as_str() {
            Some(text) => format!("{name} {text}"),
            None if value.is_null() => format!("without {name}"),
            None => format!("{} {value}", name.replace('_', " ")),
        };
        let settings = self.setup.as_object().into_iter().flatten();
        let settings: Vec<_> = settings.map(setting).collect();
        let commit = self
            .commit
            .iter()
            .map(|commit| format!(", commit {commit}"));
        let commit: String = commit.collect();
        [
            self.machine.text(),
            format!("wasm-pool-host {}{commit} · {}", self.version, self.date),
            settings.join(" · "),
        ]
    }

    /// Gives all contestants of a case their turns. After an error, a contestant gets no more
    /// turns.
    pub(crate) fn run(&mut self, case: &Case<'_>, progress: &Progress) -> anyhow::Result<()> {
        for round in 1..=case.rounds {
            for (contestant, measure) in &case.contestants {
                progress.turn(&format!("{contestant} {}, round {round}", case.name));
                let place = (contestant.as_str(), case.name.as_str());
                if self.gap(place).is_some() {
                    continue;
                }
                match measure() {
                    Ok(turn) => self.add(place, turn),
                    Err(error) if case.is_needed => return Err(error),
                    Err(error) => self.lack(place, format!("{error:#}")),
                }
            }
        }
        Ok(())
    }

    /// Adds a round.
    pub(crate) fn add(&mut self, (contestant, case): Place<'_>, turn: Turn) {
        let is_there = |entry: &Entry| entry.contestant == contestant && entry.case == case;
        let at = self.entries.iter().position(is_there).unwrap_or_else(|| {
            self.entries.push(Entry {
                contestant: contestant.into(),
                case: case.into(),
                figures: BTreeMap::new(),
            });
            self.entries.len() - 1
        });
        for (quantity, value) in turn {
            let figures = &mut self.entries[at].figures;
            figures.entry(quantity.into()).or_default().add(value);
        }
    }

    pub(crate) fn lack(&mut self, (contestant, case): Place<'_>, why: impl Into<String>) {
        self.not_measured.push(Gap {
            contestant: contestant.into(),
            case: case.into(),
            why: why.into(),
        });
    }

    pub(crate) fn note(&mut self, case: &str, text: impl Into<String>) {
        self.notes.push(Note {
            case: case.into(),
            text: text.into(),
        });
    }

    pub(crate) fn gap(&self, (contestant, case): Place<'_>) -> Option<&Gap> {
        let mut gaps = self.not_measured.iter();
        gaps.find(|gap| gap.contestant == contestant && gap.case == case)
    }

    pub(crate) fn of_case(&self, case: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.case == case)
    }

    /// The value of each round. None if it was not measured.
    pub(crate) fn rounds(&self, (contestant, case): Place<'_>, quantity: &str) -> Option<&[f64]> {
        let mut entries = self.of_case(case);
        let entry = entries.find(|entry| entry.contestant == contestant)?;
        Some(&entry.figures.get(quantity)?.rounds)
    }
}

impl Figure {
    fn add(&mut self, value: f64) {
        self.rounds.push(value);
        self.median = median(self.rounds.clone());
        self.lowest = self.rounds.iter().copied().fold(f64::MAX, f64::min);
        self.highest = self.rounds.iter().copied().fold(f64::MIN, f64::max);
        // There are no percents of 0, and JSON has no infinity.
        self.spread_percent = match self.highest - self.lowest {
            apart if self.median > 0.0 => apart / self.median * 100.0,
            _ => 0.0,
        };
    }
}
