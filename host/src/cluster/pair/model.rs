//! Two hosts and the wires between them, in every order: frames come or are lost, and connections
//! break at any time. No message is ever doubled or overtaken, and none is lost without a word to
//! both.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;

/// The messages of each host.
const MESSAGES: [u8; 2] = [2, 1];

/// The most frames that are lost.
const LOSSES: u8 = 2;

/// The most times that a host breaks a connection off by itself, or asks what has come, or tells
/// what has come, or forgets the other host.
const EACH: [u8; 4] = [1, 1, 1, 1];

/// Both hosts, and the wire that leads to each.
struct World {
    hosts: [Host; 2],
    wires: [VecDeque<Said>; 2],
    losses: u8,
    /// What the hosts have done of each kind that [`EACH`] bounds.
    done: [u8; 4],
}

struct Host {
    state: State,
    /// Messages so far.
    sent: u8,
    /// Those of the connection, with their numbers.
    unsure: Vec<(u64, u8)>,
    /// Those that the host knows may be lost.
    told: Vec<u8>,
    /// What has come.
    came: Vec<u8>,
    /// Whether the host has heard of a loss since the last message came.
    is_warned: bool,
}

/// A frame.
#[derive(Clone, Debug, Hash)]
struct Said {
    epoch: u64,
    what: What,
}

#[derive(Clone, Debug, Hash)]
enum What {
    Numbered(u64, u8),
    Taken(u64),
    Sent(u64),
    Lost,
}

/// What happens next, to this host.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Hear(usize),
    Lose(usize),
    Break(usize),
    Ask(usize),
    Tell(usize),
    Forget(usize),
}

#[test]
fn nothing_is_doubled_overtaken_or_lost_without_a_word() {
    let mut seen = HashSet::new();
    let mut open = vec![(World::new(), Vec::new())];
    while let Some((world, steps)) = open.pop() {
        let mut end = world.copy();
        end.heal(&steps);
        for step in world.steps() {
            let mut next = world.copy();
            let mut steps = steps.clone();
            steps.push(step);
            next.take(step, &steps);
            if seen.insert(next.hash()) {
                open.push((next, steps));
            }
        }
    }
    assert!(seen.len() > 10_000, "only {} states", seen.len());
}

impl World {
    fn new() -> Self {
        Self {
            hosts: [(); 2].map(|()| Host::new()),
            wires: Default::default(),
            losses: 0,
            done: [0; 4],
        }
    }

    fn copy(&self) -> Self {
        Self {
            hosts: self.hosts.each_ref().map(Host::copy),
            wires: self.wires.clone(),
            losses: self.losses,
            done: self.done,
        }
    }

    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for host in &self.hosts {
            let State { epoch, heard, .. } = host.state;
            let Out { sent, on_way, .. } = &host.state.out;
            (epoch, heard, sent, on_way.len()).hash(&mut hasher);
            (host.sent, &host.unsure, &host.told, &host.came).hash(&mut hasher);
            host.is_warned.hash(&mut hasher);
        }
        (&self.wires, self.losses, self.done).hash(&mut hasher);
        hasher.finish()
    }

    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, host) in self.hosts.iter().enumerate() {
            if host.sent < MESSAGES[at] {
                steps.push(Step::Send(at));
            }
            if !self.wires[at].is_empty() {
                steps.push(Step::Hear(at));
                if self.losses < LOSSES {
                    steps.push(Step::Lose(at));
                }
            }
            let each = [
                Step::Break(at),
                Step::Ask(at),
                Step::Tell(at),
                Step::Forget(at),
            ];
            let each = each.into_iter().zip(self.done).zip(EACH);
            steps.extend(each.filter_map(|((step, done), most)| (done < most).then_some(step)));
        }
        steps
    }

    fn take(&mut self, step: Step, steps: &[Step]) {
        match step {
            Step::Send(at) => {
                let host = &mut self.hosts[at];
                host.sent += 1;
                host.state.push(1, &Post::Withdraw { id: 1 }, b"");
                host.state.out.queue.clear();
                let (number, message) = (host.state.out.sent, host.sent);
                host.unsure.push((number, message));
                self.say(at, What::Numbered(number, message));
            }
            Step::Hear(at) => {
                if let Some(said) = self.wires[at].pop_front() {
                    self.hear(at, &said, steps);
                }
            }
            Step::Lose(at) => {
                self.losses += 1;
                self.wires[at].pop_front();
            }
            Step::Break(at) => {
                self.done[0] += 1;
                self.break_off(at);
            }
            Step::Ask(at) => {
                self.done[1] += 1;
                self.ask(at);
            }
            Step::Tell(at) => {
                self.done[2] += 1;
                self.say(at, What::Taken(self.hosts[at].state.heard));
            }
            Step::Forget(at) => {
                self.done[3] += 1;
                let next = self.hosts[at].state.epoch + 2;
                self.break_off(at);
                self.hosts[at].state = State {
                    epoch: next,
                    ..State::default()
                };
            }
        }
    }

    /// What the other host hears.
    fn say(&mut self, from: usize, what: What) {
        let epoch = self.hosts[from].state.epoch;
        self.wires[1 - from].push_back(Said { epoch, what });
    }

    fn ask(&mut self, at: usize) {
        let state = &self.hosts[at].state;
        if state.is_used() {
            self.say(at, What::Sent(state.out.sent));
        }
    }

    fn break_off(&mut self, at: usize) {
        let next = self.hosts[at].state.epoch + 1;
        self.hosts[at].begin(next);
        self.say(at, What::Lost);
    }

    /// As `mail_came`.
    fn hear(&mut self, at: usize, Said { epoch, what }: &Said, steps: &[Step]) {
        let own = self.hosts[at].state.epoch;
        if *epoch < own {
            return self.say(at, What::Lost);
        }
        if *epoch > own {
            self.hosts[at].begin(*epoch);
        }
        match *what {
            What::Lost => {}
            What::Taken(number) => {
                assert!(self.hosts[at].state.out.taken(number, &[]), "{steps:?}");
                let (host, other) = (&self.hosts[at], &self.hosts[1 - at]);
                for (_, message) in host.unsure.iter().filter(|(sent, _)| *sent <= number) {
                    assert!(other.came.contains(message), "not taken: {steps:?}");
                }
            }
            What::Sent(number) => match number > self.hosts[at].state.heard {
                true => self.break_off(at),
                false => self.say(at, What::Taken(self.hosts[at].state.heard)),
            },
            What::Numbered(number, message) => {
                let body = Bytes::copy_from_slice(&[message]);
                match self.hosts[at].state.receive(number, false, body) {
                    Received::Whole(_) => self.hosts[at].came(message, steps),
                    Received::Part => panic!("no part was sent"),
                    Received::Again => {}
                    Received::Gap => self.break_off(at),
                }
            }
        }
    }

    /// Lets everything come, until each host knows what has become of its messages.
    fn heal(&mut self, steps: &[Step]) {
        const ROUNDS: usize = 4;
        for _ in 0..ROUNDS {
            for at in [0, 1] {
                self.ask(at);
            }
            while let Some(at) = [0, 1].into_iter().find(|at| !self.wires[*at].is_empty()) {
                self.take(Step::Hear(at), steps);
            }
        }
        for at in [0, 1] {
            let (host, other) = (&self.hosts[at], &self.hosts[1 - at]);
            assert!(host.state.out.on_way.is_empty(), "{steps:?}");
            for message in 1..=host.sent {
                let is_known = other.came.contains(&message) || host.told.contains(&message);
                assert!(is_known, "{message} is lost without a word: {steps:?}");
            }
        }
    }
}

impl Host {
    fn new() -> Self {
        Self {
            state: State::default(),
            sent: 0,
            unsure: Vec::new(),
            told: Vec::new(),
            came: Vec::new(),
            is_warned: false,
        }
    }

    fn copy(&self) -> Self {
        let Out {
            sent,
            on_way,
            progress,
            ..
        } = &self.state.out;
        let out = Out {
            sent: *sent,
            on_way: on_way.clone(),
            progress: *progress,
            ..Out::default()
        };
        Self {
            state: State {
                epoch: self.state.epoch,
                heard: self.state.heard,
                out,
                ..State::default()
            },
            unsure: self.unsure.clone(),
            told: self.told.clone(),
            came: self.came.clone(),
            ..*self
        }
    }

    fn begin(&mut self, epoch: u64) {
        if self.state.begin(epoch).was_used {
            self.told.extend(self.unsure.iter().map(|(_, it)| it));
            self.is_warned = true;
        }
        self.unsure.clear();
    }

    fn came(&mut self, message: u8, steps: &[Step]) {
        if let Some(last) = self.came.last() {
            assert!(message > *last, "doubled or overtaken: {steps:?}");
            let is_gap = message > last + 1;
            assert!(!is_gap || self.is_warned, "a gap without a word: {steps:?}");
        }
        self.came.push(message);
        self.is_warned = false;
    }
}
