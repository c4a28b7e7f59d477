//! *Names* of processes. A tree has names of its own. A name of the cluster has one process on all
//! hosts. Of such a name, this host has a lease, which its peers keep; a name that is lost ends its
//! process.

use std::collections::HashMap;
use std::sync::Arc;

use super::{ProcessError, Relations, Table};
use crate::exit::Exit;
use crate::peers::{Lost, NotClaimed, PeerInfo, Unreachable};
use crate::pid::Pid;

/// The longest name, in bytes.
const LONGEST_NAME: usize = 255;

/// The process of this host that has a name of the cluster, or asks for one.
#[derive(Debug)]
pub(super) struct Holder {
    pid: Pid,
    /// Whether it has the name.
    is_held: bool,
}

/// A process asks for a name. Dropping this says that it did not get the name.
struct Claim<'a> {
    table: &'a Table,
    name: &'a str,
    pid: Pid,
    is_held: bool,
}

impl Table {
    /// Gives a process a name in its tree.
    ///
    /// # Errors
    /// [`ProcessError::InvalidName`], [`ProcessError::NameTaken`] and
    /// [`ProcessError::TooManyNames`].
    pub(crate) fn register(&self, pid: Pid, name: &str) -> Result<(), ProcessError> {
        check(name)?;
        let mut relations = self.lock();
        let most = relations.settings.names;
        let tree = relations.process(pid)?.tree;
        let names = relations.names.get(&tree);
        match names.and_then(|names| names.get(name)) {
            Some(&holder) if holder == pid => return Ok(()),
            Some(_) => return Err(ProcessError::NameTaken),
            None if names.map_or(0, HashMap::len) >= most => {
                return Err(ProcessError::TooManyNames);
            }
            None => {}
        }
        let name: Arc<str> = name.into();
        relations.process(pid)?.names.push(Arc::clone(&name));
        relations.names.entry(tree).or_default().insert(name, pid);
        Ok(())
    }

    /// The process of this name in the tree of process `by`.
    #[must_use]
    pub(crate) fn whereis(&self, by: Pid, name: &str) -> Option<Pid> {
        let relations = self.lock();
        let tree = relations.processes.get(&by)?.tree;
        relations.names.get(&tree)?.get(name).copied()
    }

    /// Gives a process a name of the cluster.
    ///
    /// # Errors
    /// As [`Table::register`], and [`ProcessError::Unreachable`].
    pub(crate) async fn claim(self: &Arc<Self>, pid: Pid, name: &str) -> Result<(), ProcessError> {
        check(name)?;
        {
            let mut relations = self.lock();
            match relations.held.get(name) {
                Some(holder) if holder.pid == pid => return Ok(()),
                Some(_) => return Err(ProcessError::NameTaken),
                None if relations.held.len() >= relations.settings.names => {
                    return Err(ProcessError::TooManyNames);
                }
                None => {}
            }
            relations.process(pid)?;
            let asks = Holder {
                pid,
                is_held: false,
            };
            relations.held.insert(name.into(), asks);
        }
        let mut claim = Claim {
            table: self,
            name,
            pid,
            is_held: false,
        };
        let table = Arc::downgrade(self);
        let lost: Lost = Box::new(move || {
            if let Some(table) = table.upgrade() {
                let _has_ended = table.signal(pid, Exit::Killed);
            }
        });
        let claimed = self.peers().claim(self.program(), name, pid, lost).await;
        claimed.map_err(|why| match why {
            NotClaimed::Taken => ProcessError::NameTaken,
            NotClaimed::Unreachable => ProcessError::Unreachable,
        })?;
        claim.keep()
    }

    /// The process of this name in the cluster.
    ///
    /// # Errors
    /// [`ProcessError::Unreachable`].
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Pid>, ProcessError> {
        if check(name).is_err() {
            return Ok(None);
        }
        {
            let relations = self.lock();
            let holder = relations.held.get(name);
            if let Some(holder) = holder.filter(|holder| holder.is_held) {
                return Ok(Some(holder.pid));
            }
        }
        let found = self.peers().whereis(self.program(), name).await;
        found.map_err(|Unreachable| ProcessError::Unreachable)
    }

    /// Gives a name of the cluster back.
    ///
    /// # Errors
    /// [`ProcessError::NotYours`] and [`ProcessError::Unreachable`].
    pub(crate) async fn release(&self, pid: Pid, name: &str) -> Result<(), ProcessError> {
        let is_own = |holder: &Holder| holder.pid == pid && holder.is_held;
        if !self.lock().held.get(name).is_some_and(is_own) {
            return Err(ProcessError::NotYours);
        }
        let released = self.peers().release(self.program(), name, pid).await;
        let mut relations = self.lock();
        relations.held.remove(name);
        if let Ok(process) = relations.process(pid) {
            process.held.retain(|held| &**held != name);
        }
        released.map_err(|Unreachable| ProcessError::Unreachable)
    }

    /// The hosts of the cluster: this one first, then by number.
    pub(crate) fn hosts(&self) -> Vec<PeerInfo> {
        let mut hosts = self.peers().hosts(self.program());
        if let Some(this) = hosts.first_mut() {
            this.root = self.root();
        }
        hosts
    }
}

impl Relations {
    pub(super) fn free_name(&mut self, tree: Pid, name: &str) {
        if let Some(names) = self.names.get_mut(&tree) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&tree);
            }
        }
    }
}

impl Claim<'_> {
    /// # Errors
    /// [`ProcessError::NoProcess`] if the process has ended meanwhile.
    fn keep(&mut self) -> Result<(), ProcessError> {
        let mut relations = self.table.lock();
        let process = relations.process(self.pid);
        process?.held.push(self.name.into());
        if let Some(holder) = relations.held.get_mut(self.name) {
            holder.is_held = true;
        }
        self.is_held = true;
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.is_held {
            return;
        }
        // If the process has ended, it may have got the name meanwhile.
        let program = self.table.program();
        self.table.peers().let_go(program, self.name, self.pid);
        self.table.lock().held.remove(self.name);
    }
}

fn check(name: &str) -> Result<(), ProcessError> {
    match name.len() {
        1..=LONGEST_NAME => Ok(()),
        _ => Err(ProcessError::InvalidName),
    }
}
