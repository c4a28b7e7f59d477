//! The search runs a model once for each order of its threads' steps. It runs a small model in all
//! orders. It runs a larger model in the orders that stop a runnable thread at most twice, and in
//! more if there is time. Most faults need one or two such stops.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// A small case: some threads, and assertions. It also fails if a thread waits for ever.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The statement that is true in every order.
    pub name: &'static str,
    /// Runs it once.
    pub run: fn(),
}

/// A file of the host with a fault in it.
#[derive(Debug)]
pub struct Mutant {
    /// The fault, in words.
    pub fault: &'static str,
    /// The models of that file. At least one of them must fail.
    pub models: &'static [Model],
    /// Whether the fault could be put in: the file has the text that the fault replaces.
    pub applies: bool,
}

/// The extent of a search.
#[derive(Clone, Copy, Debug)]
pub struct Searched {
    /// The number of runs, each in a different order.
    pub runs: usize,
    /// The most stops of one run. None if all orders were run.
    pub stops: Option<usize>,
}

/// Every model is searched with at least this many stops.
const FEWEST_STOPS: usize = 2;

/// After this many runs, which take half a second, the search does not go on to more stops.
const MOST_RUNS: usize = 25_000;

/// The most steps of one run. A model that needs more is in an endless loop.
const MOST_STEPS: usize = 10_000;

/// Runs a model in as many orders as time allows.
///
/// # Panics
/// If the model fails in one of them.
#[must_use]
pub fn holds(model: Model) -> Searched {
    let mut last = 0;
    for stops in 0.. {
        let most_runs = if stops > FEWEST_STOPS {
            MOST_RUNS
        } else {
            usize::MAX
        };
        match search(model, stops, most_runs) {
            Some(runs) if runs > last => last = runs,
            Some(runs) => return Searched { runs, stops: None },
            None => {
                return Searched {
                    runs: last,
                    stops: Some(stops - 1),
                };
            }
        }
    }
    unreachable!("a run has only so many steps");
}

/// Whether one of these models fails in some order.
#[must_use]
pub fn fails(models: &[Model]) -> bool {
    let fails = |model: &Model| catch_unwind(AssertUnwindSafe(|| holds(*model))).is_err();
    models.iter().any(fails)
}

/// The number of runs of a model with this many stops at most. None if there are more runs than
/// `most_runs`.
fn search(model: Model, stops: usize, most_runs: usize) -> Option<usize> {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true; // of atomics that are not sequentially consistent; see CONTRIBUTING
    let runs = Runner::new(Search::new(stops, most_runs), config).run(model.run);
    (runs < most_runs).then_some(runs)
}

/// A depth-first search over the choices of the thread that runs next.
#[derive(Debug)]
struct Search {
    most_stops: usize,
    most_runs: usize,
    /// The choices of the run before. The last choice changes first.
    path: Vec<Choice>,
    runs: usize,
    /// The choices made in this run, and the threads stopped.
    depth: usize,
    stops: usize,
}

#[derive(Debug)]
struct Choice {
    taken: usize,
    of: usize,
}

impl Search {
    fn new(most_stops: usize, most_runs: usize) -> Self {
        Self {
            most_stops,
            most_runs,
            path: Vec::new(),
            runs: 0,
            depth: 0,
            stops: 0,
        }
    }

    fn choose(&mut self, of: usize) -> usize {
        if self.depth == self.path.len() {
            self.path.push(Choice { taken: 0, of });
        }
        let choice = &self.path[self.depth];
        assert_eq!(choice.of, of, "the model does not do the same each time");
        self.depth += 1;
        choice.taken
    }
}

impl Scheduler for Search {
    fn new_execution(&mut self) -> Option<Schedule> {
        while self.path.pop_if(|last| last.taken + 1 == last.of).is_some() {}
        match self.path.last_mut() {
            Some(last) => last.taken += 1,
            None if self.runs > 0 => return None,
            None => {}
        }
        if self.runs == self.most_runs {
            return None;
        }
        self.runs += 1;
        self.depth = 0;
        self.stops = 0;
        Some(Schedule::new(0))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let at = runnable.iter().position(|task| Some(task.id()) == current);
        let mut choices: Vec<TaskId> = runnable.iter().map(|task| task.id()).collect();
        match at {
            // This thread waits for another thread to act.
            Some(at) if is_yielding && choices.len() > 1 => {
                choices.remove(at);
            }
            Some(at) if self.stops == self.most_stops => choices = vec![choices[at]],
            Some(at) => choices.swap(0, at),
            None => {}
        }
        let choice = self.choose(choices.len());
        self.stops += usize::from(at.is_some() && !is_yielding && choice > 0);
        Some(choices[choice])
    }

    fn next_u64(&mut self) -> u64 {
        0
    }
}
