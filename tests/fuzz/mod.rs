//! Fuzzing: the host handles malformed requests, responses of guests, output of guests, ranges and
//! paths for the static file server, and modules. Thousands of each arrive the normal way, from
//! outside.
//!
//! Cases come from a *corpus* in `corpus/`, one per line, with a few random changes. A failing case
//! is shrunk and kept in `regressions.txt`, and later runs try it first. The suite tries the same
//! few hundred cases each time. With `FUZZ_SECONDS`, which `make fuzz` sets, other cases are tried
//! for that long.

mod lines;
mod modules;
mod requests;
mod responses;
mod worker;

use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};

type Outcome = Result<(), TestCaseError>;

const REGRESSIONS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fuzz/regressions.txt"
);

/// Runs a test on cases of this strategy. In the suite, the same few hundred cases. With
/// `FUZZ_SECONDS`, random cases until the time is up.
fn fuzz<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Outcome) {
    const ROUNDS: u64 = 8;
    let seconds = std::env::var("FUZZ_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("FUZZ_SECONDS is a number"));
    let start = Instant::now();
    for round in 0.. {
        let (is_over, rng_seed) = match seconds {
            None => (round == ROUNDS, RngSeed::Fixed(round)),
            Some(seconds) => (
                start.elapsed() >= Duration::from_secs(seconds),
                RngSeed::Random,
            ),
        };
        if is_over {
            return;
        }
        let mut runner = TestRunner::new(Config {
            cases: 64,
            max_shrink_iters: 2_000,
            failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
            rng_seed,
            ..Config::default()
        });
        if let Err(error) = runner.run(&strategy, &test) {
            panic!("{error}");
        }
    }
}

/// One change of bytes. Positions are relative, so that a change applies to bytes of any length.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    Cut(Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Self::Insert(index, piece) => {
                let at = at(index);
                bytes.splice(at..at, piece.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Self::Repeat(index, count, times) => {
                let at = at(index);
                let end = bytes.len().min(at + count);
                let piece = bytes[at..end].repeat(*times);
                bytes.splice(end..end, piece);
            }
            Self::Cut(index) => bytes.truncate(at(index)),
        }
    }
}

/// Lines of a corpus with some changes. `words` are useful insertions.
fn changed(corpus: Vec<Vec<u8>>, words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let place = any::<Index>;
    let word = select(words).prop_map(unescaped);
    let change = prop_oneof![
        2 => (place(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (place(), word).prop_map(|(at, word)| Change::Insert(at, word)),
        1 => (place(), vec(any::<u8>(), 0..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (place(), 1..32_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (place(), 1..64_usize, 1..64_usize).prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        1 => place().prop_map(Change::Cut),
    ];
    (select(corpus), vec(change, 0..5)).prop_map(|(mut bytes, changes)| {
        for change in changes {
            change.apply(&mut bytes);
        }
        bytes
    })
}

/// A corpus, one case per line; see [`unescaped`]. Lines that begin with `;` are comments.
fn corpus(text: &str) -> Vec<Vec<u8>> {
    let lines = text.lines().filter(|line| !line.starts_with(';'));
    lines.map(unescaped).collect()
}

/// Decodes `\r`, `\n`, `\t`, `\\`, and `\xff` for any byte.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let mut letters = after.chars();
        match letters.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            other => panic!("not an escape: {other:?} in {text}"),
        }
        rest = letters.as_str();
    }
    bytes.extend(rest.bytes());
    bytes
}
