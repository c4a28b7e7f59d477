//! The *process table* has a row for every living process, of a pool or of a program.
//!
//! The processes of a program also have *relations*: parents and children, monitors, names, and
//! clients that they owe a response. Some of these lead to other hosts. One lock guards all
//! relations, so that the end of a process is ordered with everything that happens at the same
//! moment. Messages don't take this lock, except for requests.

#[cfg_attr(not(feature = "cluster"), expect(dead_code))]
mod afar;
mod ancestry;
mod clients;
mod lives;
mod names;
mod row;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exit::Exit;
use crate::kind::Kind;
use crate::mailbox::{self, MailError, Mailbox, Wake};
use crate::message::{Content, Message};
use crate::peers::{Alone, Peers, Way};
use crate::pid::Pid;
use crate::queues::Queues;
use crate::scheduler::Task;
use crate::tally::Tally;
use afar::Afar;
use ancestry::Terminating;
use clients::Client;
pub(crate) use clients::{NotAdmitted, Waiting};
use lives::Reservation;
pub(crate) use lives::{Life, Lives, OutOfMemory};
use names::Holder;
use row::Identity;
pub(crate) use row::Row;
pub use row::{ProcessInfo, State};

/// The name of a program that has none, since it is the only one of its host.
const ONLY: &str = "main";

/// The limits of the processes of one module. All but the memory concern the tree of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The memory that one process may have, in bytes.
    pub memory: u64,
    /// Processes in total.
    pub processes: u32,
    /// Children of one process.
    pub children: usize,
    /// Names of one tree.
    pub names: usize,
    /// The bounds of each mailbox.
    pub mailbox: mailbox::Settings,
}

/// Why a call about processes failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessError {
    /// No process has this pid, or it has ended.
    NoProcess,
    /// The process is no descendant of the caller.
    NotYours,
    /// The limit on processes is reached.
    TooManyProcesses,
    /// The limit on children of one process is reached.
    TooManyChildren,
    /// The process monitors as many processes as its mailbox has messages.
    TooManyMonitors,
    /// The arguments are larger than a message may be.
    TooLarge,
    /// Another process has this name.
    NameTaken,
    /// The name is empty or too long.
    InvalidName,
    /// The limit on names is reached.
    TooManyNames,
    /// Other hosts can't be reached.
    Unreachable,
}

/// All processes of one module.
#[derive(Debug)]
pub(crate) struct Table {
    /// The number of the module's pool or program in the host, and its name if there are several.
    pool: u32,
    name: Option<Arc<str>>,
    /// The processes of the whole host.
    lives: Arc<Lives>,
    tally: Arc<Tally>,
    relations: Mutex<Relations>,
}

/// How the processes of a program, and their clients, relate to each other.
#[derive(Debug)]
struct Relations {
    settings: Settings,
    /// The root process that gets requests. There may be others: of a tree that is about to take
    /// the place of this one, and of trees whose place was taken.
    root: Option<Pid>,
    processes: HashMap<Pid, Relative>,
    clients: HashMap<Pid, Client>,
    /// The names of each tree, which its root process stands for. No tree has an empty map.
    names: HashMap<Pid, HashMap<Arc<str>, Pid>>,
    /// The names of the cluster that processes of this host have or ask for.
    held: HashMap<Arc<str>, Holder>,
    /// The processes of other hosts that processes of this one want to know about.
    afar: HashMap<Pid, Afar>,
    closed: bool,
}

/// The relations of one process. The sets hold pids of the living only.
#[derive(Debug)]
struct Relative {
    row: Arc<Row>,
    mailbox: Arc<Mailbox>,
    parent: Option<Pid>,
    /// The root process of the tree, which may have ended.
    tree: Pid,
    /// 0 for the root process, 1 for its children.
    ancestors: u32,
    /// An ancestor further up, and its number of ancestors. With these jumps, finding any ancestor
    /// takes a number of steps logarithmic in the depth. The root process jumps to itself.
    jump: (Pid, u32),
    children: BTreeSet<Pid>,
    /// The processes that are told when this one ends.
    monitors: BTreeSet<Pid>,
    /// The processes whose ends this one is told of.
    monitored: BTreeSet<Pid>,
    /// The processes of other hosts that are told when this one ends.
    monitors_afar: BTreeSet<Pid>,
    /// The processes of other hosts whose ends this one is told of.
    monitored_afar: BTreeSet<Pid>,
    /// The processes that wait for a message from this one only.
    expecting: BTreeSet<Pid>,
    names: Vec<Arc<str>>,
    /// The names of the cluster that the process has.
    held: Vec<Arc<str>>,
    /// The clients that the process holds.
    clients: BTreeSet<Pid>,
    /// Dropping the task ends the process.
    task: Option<Task>,
    /// The reason, if the process has been told to end.
    exit_signal: Option<Exit>,
}

/// A new process that doesn't run yet.
#[derive(Debug)]
pub(crate) struct Entry {
    pub pid: Pid,
    pub parent: Option<Pid>,
    pub mailbox: Arc<Mailbox>,
    pub(crate) life: Life,
}

/// Who starts a process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// The host starts the root process, which gets requests from now on.
    Host,
    /// The host starts a root process, which gets requests from [`Table::promote`] on.
    Successor,
    /// Another process.
    Parent {
        pid: Pid,
        /// Whether the parent is told of the child's end.
        monitors: bool,
    },
}

impl Table {
    #[must_use]
    pub(crate) fn new(
        settings: Settings,
        lives: Arc<Lives>,
        pool: u32,
        name: Option<Arc<str>>,
    ) -> Arc<Self> {
        let table = Arc::new(Self {
            pool,
            name,
            tally: Arc::new(Tally::new(pool, Arc::clone(lives.feed()))),
            lives,
            relations: Mutex::new(Relations {
                settings,
                root: None,
                processes: HashMap::new(),
                clients: HashMap::new(),
                names: HashMap::new(),
                held: HashMap::new(),
                afar: HashMap::new(),
                closed: false,
            }),
        });
        table
            .peers()
            .attach(table.program(), Arc::downgrade(&table));
        table
    }

    /// A table for a module that runs by itself.
    #[must_use]
    pub(crate) fn alone(settings: Settings) -> Arc<Self> {
        let lives = Lives::new(None, Arc::new(Alone));
        Self::new(settings, Arc::new(lives), 0, None)
    }

    /// The other hosts.
    pub(crate) fn peers(&self) -> &dyn Peers {
        self.lives.peers()
    }

    /// The queues of the cluster.
    pub(crate) fn queues(&self) -> Arc<dyn Queues> {
        self.lives.queues()
    }

    /// The name of the program: other hosts run the program of the same name.
    pub(crate) fn program(&self) -> &str {
        self.name.as_deref().unwrap_or(ONLY)
    }

    /// The root process that gets requests.
    pub(crate) fn root(&self) -> Option<Pid> {
        self.lock().root
    }

    /// Sets the limits of processes that are entered from now on.
    pub(crate) fn set_limits(&self, settings: Settings) {
        self.lock().settings = settings;
    }

    /// Enters a new process of a pool, which may have this memory, in bytes.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub(crate) fn enter_pooled(&self, kind: Kind, memory: u64) -> Result<Life, OutOfMemory> {
        let memory = self.lives.reserve(memory)?;
        Ok(self.enter_life(self.lives.next_pid(), None, kind, memory))
    }

    fn enter_life(&self, pid: Pid, parent: Option<Pid>, kind: Kind, memory: Reservation) -> Life {
        let identity = Identity {
            pid,
            parent,
            kind,
            pool: self.pool,
        };
        let tally = Arc::clone(&self.tally);
        self.lives.enter(identity, memory, self.name.clone(), tally)
    }

    /// The name of the pool, if the host has several.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The number of the pool.
    pub(crate) fn pool(&self) -> u32 {
        self.pool
    }

    /// What has happened in this pool.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Adds what only this table knows to samples of processes.
    pub(crate) fn complete(&self, processes: &mut [ProcessInfo]) {
        let relations = self.lock();
        for process in processes {
            if let Some(relative) = relations.processes.get(&process.pid) {
                process.messages = Some(relative.mailbox.len());
                process.names.clone_from(&relative.names);
            }
        }
    }

    /// Enters a new process of a program: a child, which its parent may monitor from the start, or
    /// the root process.
    ///
    /// # Errors
    /// If a limit is reached, or the parent or the whole host is being ended.
    pub(crate) fn enter(&self, origin: Origin) -> Result<Entry, ProcessError> {
        let mut relations = self.lock();
        let settings = relations.settings;
        if relations.closed || relations.processes.len() >= settings.processes as usize {
            return Err(ProcessError::TooManyProcesses);
        }
        let pid = self.lives.next_pid();
        let (parent, is_monitored) = match origin {
            Origin::Host | Origin::Successor => (None, false),
            Origin::Parent { pid, monitors } => (Some(pid), monitors),
        };
        let memory = self.lives.reserve(settings.memory);
        let memory = memory.map_err(|OutOfMemory| ProcessError::TooManyProcesses)?;
        if let Some(parent) = parent {
            let parent = relations.process(parent)?;
            if parent.exit_signal.is_some() {
                return Err(ProcessError::TooManyProcesses);
            }
            if parent.children.len() >= settings.children {
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
        match origin {
            Origin::Host => relations.root = Some(pid),
            Origin::Successor | Origin::Parent { .. } => {}
        }
        let tree = parent.and_then(|parent| relations.processes.get(&parent));
        let tree = tree.map_or(pid, |parent| parent.tree);
        let (ancestors, jump) = match parent {
            Some(parent) => relations.child_ancestry(parent),
            None => (0, (pid, 0)),
        };
        let mailbox = Arc::new(Mailbox::new(settings.mailbox));
        let life = self.enter_life(pid, parent, Kind::Program, memory);
        let relative = Relative {
            row: Arc::clone(life.row()),
            mailbox: Arc::clone(&mailbox),
            parent,
            tree,
            ancestors,
            jump,
            children: BTreeSet::new(),
            monitors: parent.filter(|_| is_monitored).into_iter().collect(),
            monitored: BTreeSet::new(),
            monitors_afar: BTreeSet::new(),
            monitored_afar: BTreeSet::new(),
            expecting: BTreeSet::new(),
            names: Vec::new(),
            held: Vec::new(),
            clients: BTreeSet::new(),
            task: None,
            exit_signal: None,
        };
        relations.processes.insert(pid, relative);
        Ok(Entry {
            pid,
            parent,
            mailbox,
            life,
        })
    }

    /// Stores the task that runs the process. If the process has been told to end meanwhile, it
    /// ends now.
    pub(crate) fn attach(&self, pid: Pid, task: Task) {
        match self.lock().processes.get_mut(&pid) {
            Some(process) if process.exit_signal.is_none() => process.task = Some(task),
            Some(_) | None => {}
        }
    }

    /// Removes the relations of a process that no longer runs, and tells everybody concerned.
    /// `own_exit` is the exit that the process itself came to, if any. Returns the exit that
    /// counts.
    pub(crate) fn end(&self, pid: Pid, own_exit: Option<Exit>) -> Exit {
        let mut relations = self.lock();
        let Some(process) = relations.processes.remove(&pid) else {
            return Exit::Killed; // can't happen: only the guard of the process's task calls this
        };
        let exit = own_exit.or(process.exit_signal).unwrap_or(Exit::Killed);
        if relations.root == Some(pid) {
            relations.root = None;
        }
        if let Some(parent) = process
            .parent
            .and_then(|pid| relations.processes.get_mut(&pid))
        {
            parent.children.remove(&pid);
        }
        let mut terminating = Terminating::of(process.children);
        relations.signal_exit(&mut terminating);
        for name in process.names {
            relations.free_name(process.tree, &name);
        }
        let clients: Vec<_> = process
            .clients
            .iter()
            .filter_map(|client| relations.clients.remove(client))
            .collect();
        for monitored in process.monitored {
            if let Some(monitored) = relations.processes.get_mut(&monitored) {
                monitored.monitors.remove(&pid);
            }
        }
        for name in process.held {
            relations.held.remove(&name);
            self.peers().let_go(self.program(), &name, pid);
        }
        for afar in &process.monitored_afar {
            relations.unwatch(pid, *afar);
        }
        let mut wakes = Vec::new();
        for monitor in process.monitors {
            if let Some(monitor) = relations.processes.get_mut(&monitor) {
                monitor.monitored.remove(&pid);
                let content = Content::Down { pid, exit };
                let sender = pid;
                wakes.extend(monitor.mailbox.deliver(Message { sender, content }));
            }
        }
        let expecting: Vec<_> = process
            .expecting
            .iter()
            .filter_map(|other| relations.processes.get(other))
            .map(|other| Arc::clone(&other.mailbox))
            .collect();
        drop(relations);

        self.terminate(terminating);
        let way = |to| Way {
            program: self.program(),
            from: pid,
            to,
        };
        for monitored in process.monitored_afar {
            self.peers().forget(way(monitored));
        }
        for monitor in process.monitors_afar {
            self.peers().tell_end(way(monitor), exit);
        }
        // The monitors already have the news, so whoever finds the mailbox closed also finds the
        // news.
        process.mailbox.close();
        wakes.extend(expecting.iter().map(|other| other.interrupt()));
        wakes.into_iter().for_each(Wake::wake);
        for client in clients {
            let _left = client.answer.send((pid, Err(exit)));
        }
        exit
    }

    /// The mailbox of a process.
    ///
    /// # Errors
    /// [`MailError::NoProcess`]; [`MailError::NotYours`] for a client, which has no mailbox.
    pub(crate) fn mailbox(&self, pid: Pid) -> Result<Arc<Mailbox>, MailError> {
        let relations = self.lock();
        match relations.processes.get(&pid) {
            Some(process) => Ok(Arc::clone(&process.mailbox)),
            None if relations.clients.contains_key(&pid) => Err(MailError::NotYours),
            None => Err(MailError::NoProcess),
        }
    }

    /// Registers that process `by` waits for a message from process `from`. Until the guard is
    /// dropped, `by` is woken when `from` ends. `None` if `from` has ended.
    pub(crate) fn expect(&self, from: Pid, by: Pid) -> Option<Expecting<'_>> {
        let mut relations = self.lock();
        let process = relations.processes.get_mut(&from)?;
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
    pub(crate) fn monitor(&self, monitor: Pid, pid: Pid) -> Result<(), ProcessError> {
        let mut relations = self.lock();
        if relations.process(pid)?.monitors.contains(&monitor) {
            return Ok(());
        }
        let watcher = relations.process(monitor)?;
        if !watcher.mailbox.reserve() {
            return Err(ProcessError::TooManyMonitors);
        }
        watcher.monitored.insert(pid);
        relations.process(pid)?.monitors.insert(monitor);
        Ok(())
    }

    /// Has this root process get the requests from now on.
    pub(crate) fn promote(&self, root: Pid) {
        let mut relations = self.lock();
        if relations.processes.contains_key(&root) {
            relations.root = Some(root);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Relations> {
        // No step under this lock can panic, so a poisoned lock still guards a whole value.
        self.relations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Relations {
    fn process(&mut self, pid: Pid) -> Result<&mut Relative, ProcessError> {
        self.processes.get_mut(&pid).ok_or(ProcessError::NoProcess)
    }
}

/// The registration that one process waits for a message from another.
#[derive(Debug)]
pub(crate) struct Expecting<'a> {
    table: &'a Table,
    from: Pid,
    by: Pid,
    mailbox: Arc<Mailbox>,
}

impl Expecting<'_> {
    /// The mailbox of the process that is waited for.
    #[must_use]
    pub(crate) fn mailbox(&self) -> &Mailbox {
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
