//! *Talk*: each primitive of the contract, and what others need for the same.

use std::path::Path;

use crate::beam::Beam;
use crate::figures::{self, Figures, NO_SIZE, SIZES};
use crate::report::{self, Target};
use crate::{pipes, programs};

/// Batches within a round, of which the median is the round's figure: some seconds in all.
const BATCHES: &str = "51";

/// Children that `pingpong` has at one time. It needs fewer, but one that ends takes a moment to be gone.
const CHILDREN: usize = 1000;

const ROUND_TRIP: &str = "round trip";
const SPAWN: &str = "spawn, first message";

/// What was measured, round by round.
pub(crate) struct Talk {
    host: Figures,
    erlang: Figures,
    /// The name of what `erlang` was measured with.
    beam: Option<String>,
    pipes: Figures,
}

impl Talk {
    pub(crate) fn measure(pingpong: &Path, rounds: usize) -> anyhow::Result<Self> {
        let beam = Beam::find()?;
        let (mut host, mut erlang, mut pipes) = <(Figures, Figures, Figures)>::default();
        for _ in 0..rounds {
            let run = programs::host(pingpong, CHILDREN, &[BATCHES, "json"]);
            host.add_lines(&programs::output(run)?)?;
            if let Some(beam) = &beam {
                erlang.add_lines(&programs::output(beam.pingpong(BATCHES))?)?;
            }
            for &bytes in SIZES {
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

    pub(crate) fn report(&self) {
        report::heading("round trip between two processes, each of which waits");
        self.table(ROUND_TRIP);
        self.pipes.line("OS processes, two pipes", ROUND_TRIP);
        // Beyond 64 bytes BEAM sends references, and the host copies: these are no race.
        for (name, bytes, target) in [
            ("host / BEAM, 8 B", 8, Target::at_most(2.0, 1.0)),
            ("host / BEAM, 1 KiB", 1024, Target::None),
            ("host / BEAM, 64 KiB", 64 * 1024, Target::None),
        ] {
            self.ratio(name, ROUND_TRIP, bytes, target);
        }
        let [host, pipes] = [&self.host, &self.pipes].map(|one| one.of(ROUND_TRIP, 8));
        report::ratio("host / pipes, 8 B", host, pipes, Target::None);

        report::heading("spawn to first message");
        self.table(SPAWN);
        let us = report::median(self.host.of(SPAWN, NO_SIZE).to_vec());
        report::value("host, median", us, "µs", Target::at_most(20.0, 20.0));
        self.ratio("host / BEAM", SPAWN, NO_SIZE, Target::None);

        report::heading("the other operations (examples/pingpong)");
        figures::head();
        for operation in self.host.operations_but(&[ROUND_TRIP, SPAWN]) {
            self.host.line(operation, operation);
        }
    }

    fn table(&self, operation: &str) {
        figures::head();
        self.host.line("host", operation);
        match &self.beam {
            Some(name) => self.erlang.line(name, operation),
            None => {
                println!("  BEAM: not measured, Erlang is missing (apt-get install erlang-base)")
            }
        }
    }

    /// The host's figures to BEAM's, if there are such.
    fn ratio(&self, name: &str, operation: &str, bytes: usize, target: Target) {
        match [&self.host, &self.erlang].map(|one| one.of(operation, bytes)) {
            [_, []] => println!("  {name:<36} not measured"),
            [over, under] => report::ratio(name, over, under, target),
        }
    }
}
