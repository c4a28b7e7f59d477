//! The search: it runs a model once for each order in which the steps of its threads may fall. A
//! small model is run in all orders. A larger one is run in those where a thread that could go on
//! is stopped twice at most, or more often if there is time: most faults need one or two such
//! stops.

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// A small case: some threads, and assertions. It fails too where a thread waits for ever.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// What comes true in every order.
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
    /// Whether the fault could be put in: the text that it replaces is in the file.
    pub applies: bool,
}

/// How far a model was searched.
#[derive(Clone, Copy, Debug)]
pub struct Searched {
    /// Runs, each in an order of its own.
    pub runs: usize,
    /// The most stops of one run, or none if there is no order left.
    pub stops: Option<usize>,
}

/// Every model is searched with so many stops.
const FEWEST_STOPS: usize = 2;

/// The search does not go on to more stops after so many runs, which take half a second.
const MOST_RUNS: usize = 25_000;

/// Steps of one run. A model that needs more is one that turns in circles.
const MOST_STEPS: usize = 10_000;

/// Runs a model in as many orders as there is time for.
///
/// # Panics
/// Where the model fails in one of them.
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

/// The runs of a model with so many stops at most, if there are no more of them.
fn search(model: Model, stops: usize, most_runs: usize) -> Option<usize> {
    let mut config = Config::new();
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true; // of atomics that are not sequentially consistent; see CONTRIBUTING
    let runs = Runner::new(Search::new(stops, most_runs), config).run(model.run);
    (runs < most_runs).then_some(runs)
}

/// A depth-first search over the choices of which thread goes on.
#[derive(Debug)]
struct Search {
    most_stops: usize,
    most_runs: usize,
    /// The choices of the run before, the next to be tried last.
    path: Vec<Choice>,
    runs: usize,
    /// Of the present run: choices made, and threads stopped.
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
            // It waits for the others to do something.
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
