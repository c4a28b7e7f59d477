//! A *turn*: how one server did under load, once. Figures are medians over several turns, which are
//! called rounds where all servers take turns.

use serde::{Deserialize, Serialize};

use crate::kernel::Use;
use crate::load::Sample;
use crate::numbers::{median, spread};

/// What was measured in one turn.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Turn {
    pub(crate) requests_per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p99_9_ms: f64,
    pub(crate) cpu_seconds_per_1000_requests: f64,
    pub(crate) peak_mib: f64,
    /// Responses with another status than 200.
    pub(crate) failed: u64,
    /// Responses that were complete while things counted.
    #[serde(skip)]
    pub(crate) requests: u64,
}

/// The same server's turns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Rounds(pub(crate) Vec<Turn>);

impl Turn {
    pub(crate) fn of(sample: &Sample, used: Use) -> Self {
        Self {
            requests_per_second: sample.per_second,
            p50_ms: sample.p50_ms,
            p99_ms: sample.p99_ms,
            p99_9_ms: sample.p99_9_ms,
            cpu_seconds_per_1000_requests: used.cpu.as_secs_f64() * 1000.0 / sample.responses,
            peak_mib: used.peak_kib / 1024.0,
            failed: sample.failed,
            requests: sample.requests,
        }
    }
}

impl Rounds {
    pub(crate) fn each(&self, of: fn(&Turn) -> f64) -> Vec<f64> {
        self.0.iter().map(of).collect()
    }

    pub(crate) fn rates(&self) -> Vec<f64> {
        self.each(|turn| turn.requests_per_second)
    }

    /// The median; nothing where there are no rounds.
    pub(crate) fn median(&self, of: fn(&Turn) -> f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| median(self.each(of)))
    }

    /// How far the rates lie apart, in percent of their median; nothing where there are no rounds.
    pub(crate) fn spread(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| spread(self.rates()))
    }
}
