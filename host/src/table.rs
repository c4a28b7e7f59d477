//! The *process table*: who is alive, who started whom, who is told of whose end, who goes by which name, and
//! who owes which client a response. One lock guards it all, so that an end and whatever happens at the same
//! moment come one after the other. Messages don't pass through it: those who know each other's mailbox use
//! that.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::mailbox::{self, MailError, Mailbox};
use crate::message::{Content, ExitStatus, Message, Request, Response};
use crate::pid::{Pid, Pids};
use crate::scheduler::Task;

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

/// Somebody outside who waits for a response.
#[derive(Debug)]
struct Client {
    holder: Pid,
    /// How often the holder had looked into its mailbox when it got the request.
    visits: u64,
    answer: oneshot::Sender<Answer>,
}

/// From which process, and its response; or how that process ended, before it gave one.
pub type Answer = (Pid, Result<Response, ExitStatus>);

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
    /// Where there are too many, or the host is stopping.
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
        let mailbox = Arc::new(Mailbox::new(self.settings.mailbox));
        let process = Process {
            mailbox: Arc::clone(&mailbox),
            parent,
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
        for child in process.children {
            state.sentence(child, ExitStatus::Killed);
        }
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
        let monitors = state.mailboxes(process.monitors, |monitor| {
            monitor.monitored.remove(&pid);
        });
        let expecting = state.mailboxes(process.expecting, |_| {});
        drop(state);

        process.mailbox.close();
        for monitor in monitors {
            let content = Content::Down { pid, status };
            let down = Message {
                sender: pid,
                content,
            };
            monitor.deliver(down).wake();
        }
        for expecting in expecting {
            expecting.rouse().wake();
        }
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
        let mut state = self.lock();
        let mut ancestor = state.process(pid)?.parent;
        while ancestor != Some(by) {
            let above = ancestor.and_then(|pid| state.processes.get(&pid));
            ancestor = above.ok_or(ProcessError::NotYours)?.parent;
        }
        state.sentence(pid, ExitStatus::Killed);
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

    /// Puts a request into the root's mailbox.
    ///
    /// # Errors
    /// [`MailError::Full`], and [`MailError::NoProcess`] where there is no root.
    pub fn admit(&self, request: Request) -> Result<Waiting<'_>, MailError> {
        let client = self.pids.next();
        let (answer, answered) = oneshot::channel();
        let message = forwarded(client, client, Box::new(request));
        let mut state = self.lock();
        let holder = state.root.ok_or(MailError::NoProcess)?;
        let root = state
            .processes
            .get_mut(&holder)
            .ok_or(MailError::NoProcess)?;
        let visits = root.mailbox.visits();
        let wake = root.mailbox.send(message)?;
        root.clients.insert(client);
        let client_entry = Client {
            holder,
            visits,
            answer,
        };
        state.clients.insert(client, client_entry);
        drop(state);
        wake.wake();
        Ok(Waiting {
            table: self,
            client,
            answered,
        })
    }

    /// Sends a client's request on, from its holder to the process that answers for it from now on.
    ///
    /// # Errors
    /// [`MailError::NotYours`] where `holder` does not hold the client; [`MailError::NoProcess`] where one
    /// or the other is gone; [`MailError::Full`]. Then `holder` holds the client still.
    pub fn forward(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        request: Box<Request>,
    ) -> Result<(), MailError> {
        let wake = self.hand_over(holder, to, client, |mailbox| {
            let message = forwarded(holder, client, request);
            mailbox.send(message)
        })?;
        wake.wake();
        Ok(())
    }

    /// As [`Table::forward`], and waits until the receiver has taken the request; for `patience` at most.
    ///
    /// # Errors
    /// Those of [`Table::forward`], and [`MailError::TimedOut`]. Where the receiver ended before it took the
    /// request, the client has been told so.
    pub async fn forward_wait(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        request: Box<Request>,
        patience: Duration,
    ) -> Result<(), MailError> {
        let (wake, mut posted) = self.hand_over(holder, to, client, |mailbox| {
            mailbox.post(forwarded(holder, client, request))
        })?;
        wake.wake();
        if let Ok(taken) = posted.taken(patience).await {
            return taken;
        }
        let mut state = self.lock();
        let receiver = state.process(to).map_err(|_| MailError::NoProcess)?;
        if let Some(taken) = receiver.mailbox.withdraw(&mut posted) {
            return taken;
        }
        let visits = state.process(holder).map(|holder| holder.mailbox.visits());
        state.move_client(client, to, holder, visits.unwrap_or(0));
        Err(MailError::TimedOut)
    }

    fn hand_over<T>(
        &self,
        holder: Pid,
        to: Pid,
        client: Pid,
        put: impl FnOnce(&Mailbox) -> Result<T, MailError>,
    ) -> Result<T, MailError> {
        let mut state = self.lock();
        state.held(client, holder)?;
        let (visits, put) = match state.processes.get(&to) {
            Some(receiver) => (receiver.mailbox.visits(), put(&receiver.mailbox)?),
            None if state.clients.contains_key(&to) => return Err(MailError::NotYours),
            None => return Err(MailError::NoProcess),
        };
        state.move_client(client, holder, to, visits);
        Ok(put)
    }

    /// Answers a client.
    ///
    /// # Errors
    /// [`MailError::NotYours`] where `holder` does not hold it, [`MailError::NoProcess`] where it has gone.
    pub fn answer(&self, holder: Pid, client: Pid, response: Response) -> Result<(), MailError> {
        let mut state = self.lock();
        state.held(client, holder)?;
        let client_entry = state.clients.remove(&client);
        state.let_go(client, holder);
        drop(state);
        let answer = client_entry.ok_or(MailError::NoProcess)?.answer;
        let answered = answer.send((holder, Ok(response)));
        answered.map_err(|_left| MailError::NoProcess)
    }

    /// A client's time is up. Returns its holder, who ends if it did nothing else since it has the request.
    pub fn expire(&self, client: Pid) -> Option<Pid> {
        let mut state = self.lock();
        let &Client { holder, visits, .. } = state.clients.get(&client)?;
        if state.process(holder).ok()?.mailbox.is_stuck(visits, client) {
            state.sentence(holder, ExitStatus::Deadline);
        }
        Some(holder)
    }

    /// Ends all processes: there will be no new ones.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(root) = state.root {
            state.sentence(root, ExitStatus::Killed);
        }
    }

    /// Whether all are to end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
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

    /// Tells a process to end. The first reason counts.
    fn sentence(&mut self, pid: Pid, status: ExitStatus) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.sentence.get_or_insert(status);
            process.task = None;
        }
    }

    fn mailboxes(
        &mut self,
        pids: BTreeSet<Pid>,
        mut each: impl FnMut(&mut Process),
    ) -> Vec<Arc<Mailbox>> {
        let mut mailboxes = Vec::with_capacity(pids.len());
        for pid in pids {
            if let Some(process) = self.processes.get_mut(&pid) {
                each(process);
                mailboxes.push(Arc::clone(&process.mailbox));
            }
        }
        mailboxes
    }

    /// Whether this process holds this client.
    fn held(&self, client: Pid, holder: Pid) -> Result<(), MailError> {
        match self.clients.get(&client) {
            Some(entry) if entry.holder == holder => Ok(()),
            Some(_) => Err(MailError::NotYours),
            None if self.processes.contains_key(&client) => Err(MailError::NotYours),
            None => Err(MailError::NoProcess),
        }
    }

    fn move_client(&mut self, client: Pid, from: Pid, to: Pid, visits: u64) {
        let (Some(entry), Some(receiver)) =
            (self.clients.get_mut(&client), self.processes.get_mut(&to))
        else {
            return; // the client has left
        };
        (entry.holder, entry.visits) = (to, visits);
        receiver.clients.insert(client);
        if from != to {
            self.let_go(client, from);
        }
    }

    fn let_go(&mut self, client: Pid, holder: Pid) {
        if let Some(process) = self.processes.get_mut(&holder) {
            process.clients.remove(&client);
        }
    }
}

fn forwarded(holder: Pid, client: Pid, request: Box<Request>) -> Message {
    Message {
        sender: holder,
        content: Content::Request { client, request },
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

/// A client that waits for its response. Dropping this is leaving.
#[derive(Debug)]
pub struct Waiting<'a> {
    table: &'a Table,
    client: Pid,
    answered: oneshot::Receiver<Answer>,
}

impl Waiting<'_> {
    /// Its number.
    #[must_use]
    pub fn client(&self) -> Pid {
        self.client
    }

    /// What becomes of it.
    pub async fn answer(&mut self) -> Answer {
        let lost = (self.client, Err(ExitStatus::Killed));
        // A client that leaves the table is told why; and only this one can leave by itself.
        (&mut self.answered).await.unwrap_or(lost)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.table.lock();
        let client = state.clients.remove(&self.client);
        if let Some(client) = &client {
            state.let_go(self.client, client.holder);
        }
    }
}
