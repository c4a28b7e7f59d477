//! A crowd: processes send each other messages at random, while the root kills some of them at
//! random. At its end, each process knows whether it has received all messages that it should, once
//! and in order.

use std::collections::BTreeMap;

use wasm_pool_guest::mailbox::{self, Data, ErrorCode, Exit, Incoming, Message, Outgoing, Pid};
use wasm_pool_guest::{process, talk};

/// A message's number, counted by its sender for each receiver.
const NUMBERED: u64 = 1;
/// The total of these messages. Each member sends its total to each other member, as its last
/// message.
const TOTAL: u64 = 2;
/// To the root: this many more messages are sent.
const PROGRESS: u64 = 3;
/// To the root: the totals, or the ends, of all other members have arrived.
const DONE: u64 = 4;
/// To the members: the list of all members.
const MEMBERS: u64 = 5;
/// To the members: the list of the killed members.
const KILLED: u64 = 6;
/// To the root: the member's result.
const VERDICT: u64 = 7;

/// A member reports to the root each time it has sent this many messages.
const STEP: u64 = 100;

/// One of this many sends waits until the message is taken. It waits for a millisecond at most,
/// since processes that wait for each other would otherwise wait for ever.
const WAITING: u64 = 64;

/// Makes `count` members send `messages` each, and kills `kills` of them meanwhile.
pub(crate) fn crowd(seed: u64, count: usize, messages: u64, kills: usize) -> String {
    let mut random = Random(seed | 1);
    let mut living: Vec<Pid> = (0..count).map(|_| spawn(random.next(), messages)).collect();
    let list = encoded(&living);
    tell(&living, MEMBERS, &list);

    let mut killed = Vec::new();
    let mut downs = BTreeMap::new();
    let mut done = 0;
    // The reports until about half of all reports are in. By then all victims are killed.
    let mut steps = (count as u64 * messages / STEP) as usize / 2;
    // A member that was done may have been killed later. The loop ends when all living members are
    // done.
    let mut finished = Vec::new();
    while done < living.len() {
        let message = mailbox::receive();
        match &message.content {
            Incoming::Data(data) if data.tag == PROGRESS => {
                // The probability of a kill is the number of kills left, divided by the number of
                // steps left. So in the end all kills are done, whatever the numbers.
                let is_kill = steps > 0 && random.below(steps) < kills - killed.len();
                steps = steps.saturating_sub(1);
                if is_kill {
                    let victim = living.swap_remove(random.below(living.len()));
                    process::kill(victim).expect("a child can be killed");
                    killed.push(victim);
                }
            }
            Incoming::Data(_) => finished.push(message.sender),
            Incoming::Call(_) | Incoming::Request(_) | Incoming::Down(_) => {
                down(&mut downs, &message);
            }
        }
        done = finished.iter().filter(|pid| living.contains(pid)).count();
    }
    tell(&living, KILLED, &encoded(&killed));
    let mut verdicts = Vec::new();
    while downs.len() < count {
        let message = mailbox::receive();
        match &message.content {
            Incoming::Data(data) if data.tag == VERDICT => verdicts.push(data.bytes.clone()),
            Incoming::Data(_) => {}
            Incoming::Call(_) | Incoming::Request(_) | Incoming::Down(_) => {
                down(&mut downs, &message);
            }
        }
    }
    judge(&living, &killed, &downs, &verdicts)
}

fn spawn(seed: u64, messages: u64) -> Pid {
    let script = format!("crowd-member {seed} {messages}");
    let pid = process::spawn(&[script]).expect("a member can be started");
    process::monitor(pid).expect("and monitored");
    pid
}

fn judge(
    living: &[Pid],
    killed: &[Pid],
    downs: &BTreeMap<Pid, String>,
    verdicts: &[Vec<u8>],
) -> String {
    let is = |pid: &Pid, exit: &str| downs.get(pid).is_some_and(|it| it == exit);
    let right =
        living.iter().all(|pid| is(pid, "normal")) && killed.iter().all(|pid| is(pid, "killed"));
    let mut received = 0;
    for verdict in verdicts {
        match <[u8; 8]>::try_from(verdict.as_slice()) {
            Ok(count) => received += u64::from_le_bytes(count),
            Err(_) => return String::from_utf8_lossy(verdict).into_owned(),
        }
    }
    let (killed, living) = (killed.len(), living.len());
    let all = verdicts.len() == living;
    format!("{killed} killed, {living} well: {all}, downs right: {right}, received {received}")
}

/// A member: the messages that it has sent to each other member, and received from each.
struct Member {
    root: Pid,
    others: BTreeMap<Pid, Other>,
    killed: Option<Vec<Pid>>,
    received: u64,
    wrong: Option<String>,
}

#[derive(Default)]
struct Other {
    sent: u64,
    received: u64,
    total: Option<u64>,
    downs: Vec<String>,
    /// The other member ended before this member monitored it.
    unheard: bool,
    /// The other member had ended when this member sent to it.
    gone: bool,
}

impl Other {
    fn is_down(&self) -> bool {
        self.unheard || !self.downs.is_empty()
    }
}

pub(crate) fn member(root: Pid, seed: u64, messages: u64) {
    let mut member = Member::new(root);
    let mut random = Random(seed | 1);
    let pids: Vec<Pid> = member.others.keys().copied().collect();
    for count in 1..=messages {
        member.send(pids[random.below(pids.len())], &mut random);
        if random.below(4) == 0 {
            while let Some(message) = mailbox::try_receive() {
                member.take(&message);
            }
        }
        if count % STEP == 0 {
            member.report(PROGRESS, b"");
        }
    }
    for pid in pids {
        let total = member.others[&pid].sent;
        member.deliver(pid, TOTAL, total, 0);
    }
    member.wait(|member| {
        member
            .others
            .values()
            .all(|other| other.total.is_some() || other.is_down())
    });
    member.report(DONE, b"");
    member.wait(|member| {
        let down = |pid| member.others[pid].is_down();
        let killed = member.killed.as_ref();
        killed.is_some_and(|killed| killed.iter().all(down))
    });
    member.judge();
    match member.wrong.take() {
        Some(wrong) => member.report(VERDICT, wrong.as_bytes()),
        None => member.report(VERDICT, &member.received.to_le_bytes()),
    }
}

impl Member {
    fn new(root: Pid) -> Self {
        let members = match mailbox::receive_from(root).map(|message| message.content) {
            Ok(Incoming::Data(data)) => decoded(&data.bytes),
            other => panic!("not the list: {other:?}"),
        };
        let own = mailbox::self_();
        let mut member = Self {
            root,
            others: BTreeMap::new(),
            killed: None,
            received: 0,
            wrong: None,
        };
        for pid in members.into_iter().filter(|pid| *pid != own) {
            let mut other = Other::default();
            other.gone = process::monitor(pid).is_err(); // its messages have arrived all the same
            other.unheard = other.gone;
            member.others.insert(pid, other);
        }
        member
    }

    fn send(&mut self, to: Pid, random: &mut Random) {
        let wait = u32::from(random.next().is_multiple_of(WAITING));
        let number = self.others[&to].sent + 1;
        if self.deliver(to, NUMBERED, number, wait) {
            self.other(to).sent = number;
        }
    }

    /// Returns whether the message reached the receiver's mailbox. While the receiver's mailbox is
    /// full, empties this member's own.
    fn deliver(&mut self, to: Pid, tag: u64, number: u64, wait: u32) -> bool {
        loop {
            let bytes = number.to_le_bytes().into();
            let content = Outgoing::Data(Data { tag, bytes });
            let sent = match wait {
                0 => mailbox::send(to, content),
                ms => mailbox::send_wait(to, content, ms),
            };
            match sent {
                Ok(()) => {
                    if self.others[&to].gone {
                        self.fault(format!("{to} was dead and is sent to"));
                    }
                    return true;
                }
                Err(ErrorCode::NoProcess) => {
                    self.other(to).gone = true;
                    return false;
                }
                Err(ErrorCode::TimedOut) => return false,
                Err(ErrorCode::MailboxFull) => {
                    if let Some(message) = mailbox::receive_timeout(1) {
                        self.take(&message);
                    }
                }
                Err(error) => {
                    self.fault(format!("sending to {to}: {}", error.name()));
                    return false;
                }
            }
        }
    }

    fn take(&mut self, message: &Message) {
        let from = message.sender;
        match &message.content {
            Incoming::Data(data) if from == self.root => self.killed = Some(decoded(&data.bytes)),
            Incoming::Data(data) => {
                let number = decoded(&data.bytes)[0];
                let tag = data.tag;
                let other = self.other(from);
                let late = other.total.is_some() || !other.downs.is_empty();
                let expected = other.received + u64::from(tag == NUMBERED);
                match tag {
                    NUMBERED => other.received = number,
                    _ => other.total = Some(number),
                }
                self.received += 1;
                if late || number != expected {
                    self.fault(format!(
                        "from {from}: {tag}/{number} for {expected}, late: {late}"
                    ));
                }
            }
            Incoming::Down(down) => {
                let exit = ended(&down.exit);
                self.other(from).downs.push(exit);
            }
            Incoming::Call(_) | Incoming::Request(_) => {
                self.fault(format!("from {from}: {message:?}"));
            }
        }
    }

    fn wait(&mut self, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let message = mailbox::receive();
            self.take(&message);
        }
    }

    /// Checks that all dead members were killed, each once. From living members, which may have
    /// ended normally by now, all messages must have arrived.
    fn judge(&mut self) {
        let killed = self.killed.take().unwrap_or_default();
        let others = std::mem::take(&mut self.others);
        for (pid, other) in &others {
            let expected = if killed.contains(pid) {
                "killed"
            } else {
                "normal"
            };
            let right = match other.downs.as_slice() {
                [] => other.unheard || !killed.contains(pid),
                [exit] => exit == expected,
                _ => false,
            };
            let lost = other.total.is_none() && !killed.contains(pid);
            if !right || lost {
                self.fault(format!("{pid}: {:?}, lost: {lost}", other.downs));
            }
        }
    }

    fn other(&mut self, pid: Pid) -> &mut Other {
        self.others.get_mut(&pid).expect("one of the members")
    }

    fn fault(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }

    fn report(&mut self, tag: u64, bytes: &[u8]) {
        while talk::send(self.root, tag, bytes).is_err() {
            if let Some(message) = mailbox::receive_timeout(1) {
                self.take(&message);
            }
        }
    }
}

/// Also reaches members whose mailboxes the others have filled.
fn tell(members: &[Pid], tag: u64, bytes: &[u8]) {
    for &pid in members {
        let bytes = bytes.to_vec();
        let sent = mailbox::send_wait(pid, Outgoing::Data(Data { tag, bytes }), 60_000);
        sent.expect("a member that was not killed takes it");
    }
}

fn down(downs: &mut BTreeMap<Pid, String>, message: &Message) {
    let Incoming::Down(down) = &message.content else {
        panic!("not expected: {message:?}");
    };
    let earlier = downs.insert(down.pid, ended(&down.exit));
    assert_eq!(earlier, None, "{} ended twice", down.pid);
}

fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Normal => "normal".into(),
        Exit::Killed => "killed".into(),
        Exit::Code(_) | Exit::Trap | Exit::Memory | Exit::Deadline | Exit::HostLost => {
            format!("{exit:?}")
        }
    }
}

fn encoded(pids: &[Pid]) -> Vec<u8> {
    pids.iter().flat_map(|pid| pid.to_le_bytes()).collect()
}

fn decoded(bytes: &[u8]) -> Vec<u64> {
    let numbers = bytes.chunks_exact(8);
    numbers
        .map(|number| u64::from_le_bytes(number.try_into().expect("eight bytes")))
        .collect()
}

/// xorshift64*, as in the tests themselves.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
