//! The *process table*: who is alive, who started whom, who is told of whose end, who goes by which name, and
//! who owes which client a response. One lock guards it all, so that an end and whatever happens at the same
//! moment come one after the other. Messages don't pass through it, save for requests: those who know each
//! other's mailbox use that.

mod clients;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mailbox::{self, MailError, Mailbox, Wake};
use crate::message::{Content, ExitStatus, Message};
use crate::pid::{Pid, Pids};
use crate::scheduler::Task;
use clients::Client;
pub use clients::{Answer, NotAdmitted, Waiting};

/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;

/// How many of everything there may be.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Processes in all.
    pub processes: u32,
    /// Children of one process.
    pub children: usize,
    /// Names in all.
    pub names: usize,
    /// What one mailbox holds.
    pub mailbox: mailbox::Settings,
}

/// Why a call about processes failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessError {
    /// Nobody has this pid, or not any longer.
    NoProcess,
    /// Not a descendant.
    NotYours,
    /// As many processes as there may be.
    TooManyProcesses,
    /// As many children as one may have.
    TooManyChildren,
    /// As many monitored as one mailbox has room for.
    TooManyMonitors,
    /// The arguments are larger than a message may be.
    TooLarge,
    /// Another process has this name.
    NameTaken,
    /// Empty or too long.
    InvalidName,
    /// As many names as there may be.
    TooManyNames,
}

/// All processes of one program, and the clients they serve.
#[derive(Debug)]
pub struct Table {
    settings: Settings,
    pids: Pids,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    root: Option<Pid>,
    processes: HashMap<Pid, Process>,
    clients: HashMap<Pid, Client>,
    names: HashMap<Arc<str>, Pid>,
    closed: bool,
}

/// What is known of one process. The sets hold pids of the living only.
#[derive(Debug)]
struct Process {
    mailbox: Arc<Mailbox>,
    parent: Option<Pid>,
    /// The root has none, its children one: itself.
    ancestors: u32,
    /// An ancestor further up and how many that one has: with it, any ancestor is found in steps as few as the
    /// digits of their number. The root's is the root.
    jump: (Pid, u32),
    children: BTreeSet<Pid>,
    /// Who is told when it ends.
    monitors: BTreeSet<Pid>,
    /// Of whose ends it is told.
    monitored: BTreeSet<Pid>,
    /// Who waits for a message of it and no other.
    expecting: BTreeSet<Pid>,
    names: Vec<Arc<str>>,
    /// Clients that it holds.
    clients: BTreeSet<Pid>,
    /// Dropping it ends the process.
    task: Option<Task>,
    /// It has been told to end, and why.
    sentence: Option<ExitStatus>,
}

/// A new process, not yet running.
#[derive(Debug)]
pub struct Entry {
    /// Its number.
    pub pid: Pid,
    /// Where it receives.
    pub mailbox: Arc<Mailbox>,
    /// Who spawned it.
    pub parent: Option<Pid>,
}

/// Who starts a process.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// The host: it is the root.
    Host,
    /// Another process.
    Parent {
        /// Which.
        pid: Pid,
        /// Whether it is told of the child's end.
        monitors: bool,
    },
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pids: Pids::new(),
            state: Mutex::default(),
        }
    }

    /// Enters a new process: a child, whose parent may monitor it from the start, or the root.
    ///
    /// # Errors
    /// Where there are too many, or the parent or the whole host is to end.
    pub fn enter(&self, origin: Origin) -> Result<Entry, ProcessError> {
        let mut state = self.lock();
        if state.closed || state.processes.len() >= self.settings.processes as usize {
            return Err(ProcessError::TooManyProcesses);
        }
        let pid = self.pids.next();
        let (parent, is_monitored) = match origin {
            Origin::Host => (None, false),
            Origin::Parent { pid, monitors } => (Some(pid), monitors),
        };
        match parent {
            Some(parent) => {
                let parent = state.process(parent)?;
                if parent.sentence.is_some() {
                    return Err(ProcessError::TooManyProcesses);
                }
                if parent.children.len() >= self.settings.children {
                    return Err(ProcessError::TooManyChildren);
                }
                if is_monitored {
                    if !parent.mailbox.reserve() {
                        return Err(ProcessError::TooManyMonitors);
                    }
                    parent.monitored.insert(pid);
                }
                parent.children.insert(pid);
            }
            None => state.root = Some(pid),
        }
        let (ancestors, jump) = match parent {
            Some(parent) => state.below(parent),
            None => (0, (pid, 0)),
        };
        let mailbox = Arc::new(Mailbox::new(self.settings.mailbox));
        let process = Process {
            mailbox: Arc::clone(&mailbox),
            parent,
            ancestors,
            jump,
            children: BTreeSet::new(),
            monitors: parent.filter(|_| is_monitored).into_iter().collect(),
            monitored: BTreeSet::new(),
            expecting: BTreeSet::new(),
            names: Vec::new(),
            clients: BTreeSet::new(),
            task: None,
            sentence: None,
        };
        state.processes.insert(pid, process);
        Ok(Entry {
            pid,
            mailbox,
            parent,
        })
    }

    /// Says which task runs the process. One that was told to end meanwhile ends now.
    pub fn attach(&self, pid: Pid, task: Task) {
        match self.lock().processes.get_mut(&pid) {
            Some(process) if process.sentence.is_none() => process.task = Some(task),
            Some(_) | None => {}
        }
    }

    /// Removes a process that runs no more, and tells whom it concerns. `status` is its own account, if it
    /// came to give one. Returns how it ended.
    pub fn end(&self, pid: Pid, status: Option<ExitStatus>) -> ExitStatus {
        let mut state = self.lock();
        let Some(process) = state.processes.remove(&pid) else {
            return ExitStatus::Killed; // its life is the only one who calls this
        };
        let status = status.or(process.sentence).unwrap_or(ExitStatus::Killed);
        if state.root == Some(pid) {
            state.root = None;
        }
        if let Some(parent) = process.parent.and_then(|pid| state.processes.get_mut(&pid)) {
            parent.children.remove(&pid);
        }
        let mut sentenced = Sentenced::of(process.children);
        state.sentence(&mut sentenced);
        for name in process.names {
            state.names.remove(&name);
        }
        let clients: Vec<_> = process
            .clients
            .iter()
            .filter_map(|client| state.clients.remove(client))
            .collect();
        for monitored in process.monitored {
            if let Some(monitored) = state.processes.get_mut(&monitored) {
                monitored.monitors.remove(&pid);
            }
        }
        let mut wakes = Vec::new();
        for monitor in process.monitors {
            if let Some(monitor) = state.processes.get_mut(&monitor) {
                monitor.monitored.remove(&pid);
                let content = Content::Down { pid, status };
                let sender = pid;
                wakes.extend(monitor.mailbox.deliver(Message { sender, content }));
            }
        }
        let expecting: Vec<_> = process
            .expecting
            .iter()
            .filter_map(|other| state.processes.get(other))
            .map(|other| Arc::clone(&other.mailbox))
            .collect();
        drop(state);

        self.sentence_all(sentenced);
        // Its monitors have the news by now: whoever finds the mailbox closed finds that too.
        process.mailbox.close();
        wakes.extend(expecting.iter().map(|other| other.rouse()));
        wakes.into_iter().for_each(Wake::wake);
        for client in clients {
            let _left = client.answer.send((pid, Err(status)));
        }
        status
    }

    /// The mailbox of a process.
    ///
    /// # Errors
    /// [`MailError::NoProcess`]; for a client, [`MailError::NotYours`]: it has none.
    pub fn mailbox(&self, pid: Pid) -> Result<Arc<Mailbox>, MailError> {
        let state = self.lock();
        match state.processes.get(&pid) {
            Some(process) => Ok(Arc::clone(&process.mailbox)),
            None if state.clients.contains_key(&pid) => Err(MailError::NotYours),
            None => Err(MailError::NoProcess),
        }
    }

    /// The mailbox of a process from which another waits to hear. Until the guard is dropped, the other is
    /// woken when the process ends. None if it has ended.
    pub fn expect(&self, from: Pid, by: Pid) -> Option<Expecting<'_>> {
        let mut state = self.lock();
        let process = state.processes.get_mut(&from)?;
        process.expecting.insert(by);
        let mailbox = Arc::clone(&process.mailbox);
        Some(Expecting {
            table: self,
            from,
            by,
            mailbox,
        })
    }

    /// Has `monitor` told when `pid` ends.
    ///
    /// # Errors
    /// [`ProcessError::NoProcess`] and [`ProcessError::TooManyMonitors`].
    pub fn monitor(&self, monitor: Pid, pid: Pid) -> Result<(), ProcessError> {
        let mut state = self.lock();
        if state.process(pid)?.monitors.contains(&monitor) {
            return Ok(());
        }
        let watcher = state.process(monitor)?;
        if !watcher.mailbox.reserve() {
            return Err(ProcessError::TooManyMonitors);
        }
        watcher.monitored.insert(pid);
        state.process(pid)?.monitors.insert(monitor);
        Ok(())
    }

    /// Ends a descendant of `by`.
    ///
    /// # Errors
    /// [`ProcessError::NoProcess`] and [`ProcessError::NotYours`].
    pub fn kill(&self, by: Pid, pid: Pid) -> Result<(), ProcessError> {
        let mut sentenced = Sentenced::of([pid]);
        {
            let mut state = self.lock();
            let ancestors = state.process(by)?.ancestors;
            if pid == by || state.ancestor(pid, ancestors)? != by {
                return Err(ProcessError::NotYours);
            }
            state.sentence(&mut sentenced);
        }
        self.sentence_all(sentenced);
        Ok(())
    }

    /// Gives a process a name.
    ///
    /// # Errors
    /// [`ProcessError::InvalidName`], [`ProcessError::NameTaken`] and [`ProcessError::TooManyNames`].
    pub fn register(&self, pid: Pid, name: &str) -> Result<(), ProcessError> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(ProcessError::InvalidName);
        }
        let mut state = self.lock();
        match state.names.get(name) {
            Some(&holder) if holder == pid => return Ok(()),
            Some(_) => return Err(ProcessError::NameTaken),
            None if state.names.len() >= self.settings.names => {
                return Err(ProcessError::TooManyNames);
            }
            None => {}
        }
        let name: Arc<str> = name.into();
        state.process(pid)?.names.push(Arc::clone(&name));
        state.names.insert(name, pid);
        Ok(())
    }

    /// The process of this name.
    #[must_use]
    pub fn whereis(&self, name: &str) -> Option<Pid> {
        self.lock().names.get(name).copied()
    }

    /// Ends all processes: there will be no new ones.
    pub fn close(&self) {
        let root = {
            let mut state = self.lock();
            state.closed = true;
            state.root
        };
        self.sentence_all(Sentenced::of(root));
    }

    /// Whether all are to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Tells these processes to end, and lets others have the table in between. None of them can have more children
    /// once it is told, so that this comes to an end.
    fn sentence_all(&self, mut sentenced: Sentenced) {
        loop {
            sentenced.tasks.clear(); // outside of the lock: ending a process wakes a core
            if sentenced.waiting.is_empty() {
                return;
            }
            self.lock().sentence(&mut sentenced);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole whenever it is unlocked: no step in between can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn process(&mut self, pid: Pid) -> Result<&mut Process, ProcessError> {
        self.processes.get_mut(&pid).ok_or(ProcessError::NoProcess)
    }

    /// How many ancestors a new child of `parent` has, and which one it jumps to. Jumps are as long as those of a
    /// skew-binary list: two of one length above each other are followed by one that is longer than both.
    fn below(&self, parent: Pid) -> (u32, (Pid, u32)) {
        let Some(process) = self.processes.get(&parent) else {
            return (1, (parent, 0)); // it was there a moment ago, under this same lock
        };
        let (middle, above_middle) = process.jump;
        let far = self.processes.get(&middle).map(|middle| middle.jump);
        let jump = match far {
            Some((far, above_far))
                if process.ancestors - above_middle == above_middle - above_far =>
            {
                (far, above_far)
            }
            Some(_) | None => (parent, process.ancestors),
        };
        (process.ancestors + 1, jump)
    }

    /// The ancestor of `pid`, or `pid` itself, that has this many.
    fn ancestor(&self, pid: Pid, ancestors: u32) -> Result<Pid, ProcessError> {
        let mut at = pid;
        loop {
            // Where an ancestor is gone, the process has been told to end with it.
            let process = self.processes.get(&at).ok_or(ProcessError::NoProcess)?;
            at = match (process.jump, process.parent) {
                _ if process.ancestors <= ancestors => return Ok(at),
                ((far, above_far), _) if above_far >= ancestors => far,
                (_, Some(parent)) => parent,
                (_, None) => return Ok(at),
            };
        }
    }

    /// Tells some of these processes to end, and adds their children: they must not have more meanwhile. The first
    /// reason counts.
    fn sentence(&mut self, sentenced: &mut Sentenced) {
        /// A few microseconds under the lock.
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE {
            let Some((pid, status)) = sentenced.waiting.pop() else {
                return;
            };
            let Some(process) = self.processes.get_mut(&pid) else {
                continue;
            };
            sentenced.tasks.extend(process.task.take());
            if process.sentence.is_none() {
                process.sentence = Some(status);
                let children = process.children.iter();
                let children = children.map(|&child| (child, ExitStatus::Killed));
                sentenced.waiting.extend(children);
            }
        }
    }
}

/// Processes that are told to end, and with them all their descendants.
#[derive(Debug)]
struct Sentenced {
    waiting: Vec<(Pid, ExitStatus)>,
    /// Of those that have been told: dropping them ends them.
    tasks: Vec<Task>,
}

impl Sentenced {
    fn of(pids: impl IntoIterator<Item = Pid>) -> Self {
        let pids = pids.into_iter();
        Self {
            waiting: pids.map(|pid| (pid, ExitStatus::Killed)).collect(),
            tasks: Vec::new(),
        }
    }

    /// One whose client's time is up.
    fn late(pid: Pid) -> Self {
        Self {
            waiting: vec![(pid, ExitStatus::Deadline)],
            tasks: Vec::new(),
        }
    }
}

/// One process waits to hear from another.
#[derive(Debug)]
pub struct Expecting<'a> {
    table: &'a Table,
    from: Pid,
    by: Pid,
    mailbox: Arc<Mailbox>,
}

impl Expecting<'_> {
    /// Of the other.
    #[must_use]
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        if let Some(process) = self.table.lock().processes.get_mut(&self.from) {
            process.expecting.remove(&self.by);
        }
    }
}
