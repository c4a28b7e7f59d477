//! *Talk*: each primitive of the contract, and what others need for the same.

use super::beam::Beam;
use super::figures::{Figures, HEAD, NO_SIZE, SIZES};
use super::{Guest, pipes};
use crate::findings::{self, Finding, Target};
use crate::numbers::{median, median_ratio};
use crate::table::{Row, Section, Table};

/// Batches within a round, of which the median is the round's figure: some seconds in all.
const BATCHES: &str = "51";

/// Children that `pingpong` has at one time. It needs fewer, but a child that ends takes a moment
/// to be gone.
const CHILDREN: usize = 1000;

const ROUND_TRIP: &str = "round trip";
const SPAWN: &str = "spawn, first message";

/// What was measured, round by round.
pub(crate) struct Talk {
    host: Figures,
    erlang: Figures,
    /// The name of the virtual machine that `erlang` was measured with.
    beam: Option<String>,
    pipes: Figures,
}

impl Talk {
    pub(crate) fn measure(pingpong: &Guest<'_>, rounds: usize) -> anyhow::Result<Self> {
        let beam = Beam::find()?;
        let (mut host, mut erlang, mut pipes) = <(Figures, Figures, Figures)>::default();
        for _ in 0..rounds {
            let run = pingpong.start(CHILDREN, &[BATCHES, "json"])?;
            host.add_lines(&run.output()?)?;
            if let Some(beam) = &beam {
                erlang.add_lines(&beam.pingpong(BATCHES)?)?;
            }
            for bytes in SIZES {
                pipes.add(ROUND_TRIP, bytes, pipes::round_trip(bytes)?);
            }
        }
        Ok(Self {
            host,
            erlang,
            beam: beam.map(|beam| beam.name),
            pipes,
        })
    }

    pub(crate) fn report(&self) -> String {
        let mut round_trips = self.rows(ROUND_TRIP);
        round_trips.push(self.pipes.row("OS processes, two pipes", ROUND_TRIP));
        let others = self.host.operations_but(&[ROUND_TRIP, SPAWN]);
        let others = others.into_iter().map(|one| self.host.row(one, one));
        let sections = vec![
            Section::new(
                "round trip between two processes, each of which waits, µs",
                round_trips,
            ),
            Section::new("spawn to first message, µs", self.rows(SPAWN)),
            Section::new(
                "the other operations (examples/pingpong), µs",
                others.collect(),
            ),
        ];
        let [host, pipes] = [&self.host, &self.pipes].map(|one| one.of(ROUND_TRIP, 8));
        let us = median(self.host.of(SPAWN, NO_SIZE).to_vec());
        // Beyond 64 bytes BEAM sends references, and the host copies: there is no target.
        let findings = [
            self.ratio("round trip, 8 B", ROUND_TRIP, 8, Target::AtMost(2.0, 1.0)),
            self.ratio("round trip, 1 KiB", ROUND_TRIP, 1024, Target::None),
            self.ratio("round trip, 64 KiB", ROUND_TRIP, 64 * 1024, Target::None),
            self.ratio("spawn to first message", SPAWN, NO_SIZE, Target::None),
            Finding::new(
                "round trip, 8 B: host / pipes",
                median_ratio(host, pipes),
                "",
                Target::None,
            ),
            Finding::new(
                "spawn to first message",
                us,
                "µs",
                Target::AtMost(20.0, 20.0),
            ),
        ];
        Table::new(&HEAD, sections).markdown() + &findings::table("targets", &findings).markdown()
    }

    fn rows(&self, operation: &str) -> Vec<Row> {
        let name = self.beam.as_deref().unwrap_or("Erlang is missing");
        vec![
            self.host.row("host", operation),
            self.erlang.row(name, operation),
        ]
    }

    /// The host's figures to BEAM's.
    fn ratio(&self, name: &str, operation: &str, bytes: usize, target: Target) -> Finding {
        let name = format!("{name}: host / BEAM");
        match [&self.host, &self.erlang].map(|one| one.of(operation, bytes)) {
            [_, []] => Finding::missing(name, "no Erlang (apt-get install erlang-base)"),
            [over, under] => Finding::new(name, median_ratio(over, under), "", target),
        }
    }
}
