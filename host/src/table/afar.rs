//! Relations to processes of other hosts: whose ends are watched here, and who watches from there.
//! Each host keeps its own side. The cluster brings the news, and says when a host is lost: then
//! nobody knows what has become of its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{ProcessError, Relations, Table};
use crate::exit::Exit;
use crate::mailbox::{MailError, Mailbox, Wake, Wanted};
use crate::message::{Content, Message};
use crate::peers::{NotWatched, Way};
use crate::pid::Pid;

/// What processes of this host want to know of a process of another one.
#[derive(Debug, Default)]
pub(super) struct Afar {
    /// Those that are told of its end.
    monitors: BTreeSet<Pid>,
    /// Those that wait for a message from it only.
    expecting: BTreeMap<Pid, Arc<StandIn>>,
}

/// Stands in for a process of another host: its mailbox is closed once the process has ended.
#[derive(Debug)]
struct StandIn {
    mailbox: Mailbox,
    /// Whether its host is lost.
    is_lost: AtomicBool,
}

/// The registration that a process waits for a message from another host.
struct Expecting<'a> {
    table: &'a Table,
    way: Way<'a>,
    stand_in: Arc<StandIn>,
}

impl Table {
    /// Has `monitor` told when the process `pid` of another host ends.
    ///
    /// # Errors
    /// [`ProcessError::NoProcess`], [`ProcessError::TooManyMonitors`] and
    /// [`ProcessError::Unreachable`].
    pub(crate) async fn monitor_afar(&self, monitor: Pid, pid: Pid) -> Result<(), ProcessError> {
        {
            let mut relations = self.lock();
            let watcher = relations.process(monitor)?;
            if watcher.monitored_afar.contains(&pid) {
                return Ok(());
            }
            if !watcher.mailbox.reserve() {
                return Err(ProcessError::TooManyMonitors);
            }
            watcher.monitored_afar.insert(pid);
            let afar = relations.afar.entry(pid).or_default();
            afar.monitors.insert(monitor);
        }
        let way = self.way(monitor, pid);
        let Err(why) = self.peers().watch(way).await else {
            return Ok(());
        };
        if why == NotWatched::Unreachable {
            self.peers().forget(way); // the answer may be late
        }
        let mut relations = self.lock();
        if !relations.unwatch(monitor, pid) {
            return Ok(()); // the news of its end, or of its host's, was faster
        }
        if let Ok(watcher) = relations.process(monitor) {
            watcher.monitored_afar.remove(&pid);
            watcher.mailbox.give_place_back();
        }
        Err(match why {
            NotWatched::NoProcess => ProcessError::NoProcess,
            NotWatched::Unreachable => ProcessError::Unreachable,
        })
    }

    /// Takes a message from the process `from` of another host out of the mailbox of `by`, or waits
    /// for one.
    ///
    /// # Errors
    /// [`MailError::NoProcess`] if there is none and `from` has ended; [`MailError::Unreachable`]
    /// if its host is lost.
    pub(crate) async fn receive_afar(
        &self,
        mailbox: &Mailbox,
        from: Pid,
        by: Pid,
    ) -> Result<Message, MailError> {
        let wanted = Wanted::From(from);
        if let Some(message) = mailbox.try_receive(wanted) {
            return Ok(message);
        }
        let way = self.way(by, from);
        let stand_in = Arc::new(StandIn::new());
        let is_watched = {
            let mut relations = self.lock();
            let afar = relations.afar.entry(from).or_default();
            afar.expecting.insert(by, Arc::clone(&stand_in));
            afar.monitors.contains(&by)
        };
        let expecting = Expecting {
            table: self,
            way,
            stand_in,
        };
        if !is_watched {
            match self.peers().watch(way).await {
                Ok(()) => {}
                Err(NotWatched::NoProcess) => {
                    // Its last messages came before this.
                    return mailbox.try_receive(wanted).ok_or(MailError::NoProcess);
                }
                Err(NotWatched::Unreachable) => {
                    self.peers().forget(way); // the answer may be late
                    return mailbox.try_receive(wanted).ok_or(MailError::Unreachable);
                }
            }
        }
        let StandIn {
            mailbox: other,
            is_lost,
        } = &*expecting.stand_in;
        let received = mailbox.receive(wanted, Some(other)).await;
        received.map_err(|error| match is_lost.load(Ordering::Acquire) {
            true => MailError::Unreachable,
            false => error,
        })
    }

    /// A process of another host has ended, which `watcher` watches.
    pub(crate) fn ended_afar(&self, pid: Pid, watcher: Pid, exit: Exit) {
        let mut wakes = Vec::new();
        self.lock().tell_afar(pid, watcher, exit, &mut wakes);
        wakes.into_iter().for_each(Wake::wake);
    }

    /// The host of this number is lost, or something that it has sent.
    pub(crate) fn lost_host(&self, number: u32) {
        let mut wakes = Vec::new();
        {
            let mut relations = self.lock();
            let mut told = Vec::new();
            for (pid, afar) in &relations.afar {
                if pid.host() == number {
                    let watchers = afar.monitors.iter().chain(afar.expecting.keys());
                    told.extend(watchers.map(|watcher| (*pid, *watcher)));
                }
            }
            for (pid, watcher) in told {
                relations.tell_afar(pid, watcher, Exit::HostLost, &mut wakes);
            }
            // Those who watch from there are told by their own host.
            for process in relations.processes.values_mut() {
                process.monitors_afar.retain(|by| by.host() != number);
            }
        }
        wakes.into_iter().for_each(Wake::wake);
    }

    /// Has the process `watcher` of another host told when `pid` ends.
    ///
    /// # Errors
    /// If there is no such process.
    pub(crate) fn watched_from_afar(&self, watcher: Pid, pid: Pid) -> Result<(), ProcessError> {
        let mut relations = self.lock();
        relations.process(pid)?.monitors_afar.insert(watcher);
        Ok(())
    }

    /// The process `watcher` of another host watches `pid` no more.
    pub(crate) fn forgotten_from_afar(&self, watcher: Pid, pid: Pid) {
        if let Ok(process) = self.lock().process(pid) {
            process.monitors_afar.remove(&watcher);
        }
    }

    fn way(&self, from: Pid, to: Pid) -> Way<'_> {
        Way {
            program: self.program(),
            from,
            to,
        }
    }
}

impl Relations {
    /// Removes a monitor of a process of another host. Returns whether it was there.
    pub(super) fn unwatch(&mut self, monitor: Pid, pid: Pid) -> bool {
        let Some(afar) = self.afar.get_mut(&pid) else {
            return false;
        };
        let was_there = afar.monitors.remove(&monitor);
        self.tidy_afar(pid);
        was_there
    }

    fn tell_afar(&mut self, pid: Pid, watcher: Pid, exit: Exit, wakes: &mut Vec<Wake>) {
        let Some(afar) = self.afar.get_mut(&pid) else {
            return;
        };
        let is_monitor = afar.monitors.remove(&watcher);
        let stand_in = afar.expecting.remove(&watcher);
        self.tidy_afar(pid);
        let Some(process) = self.processes.get_mut(&watcher) else {
            return;
        };
        if is_monitor {
            process.monitored_afar.remove(&pid);
            let content = Content::Down { pid, exit };
            let sender = pid;
            wakes.extend(process.mailbox.deliver(Message { sender, content }));
        }
        if let Some(stand_in) = stand_in {
            let is_lost = exit == Exit::HostLost;
            stand_in.is_lost.store(is_lost, Ordering::Release);
            stand_in.mailbox.close();
            wakes.push(process.mailbox.interrupt());
        }
    }

    fn tidy_afar(&mut self, pid: Pid) {
        let is_idle = |afar: &Afar| afar.monitors.is_empty() && afar.expecting.is_empty();
        if self.afar.get(&pid).is_some_and(is_idle) {
            self.afar.remove(&pid);
        }
    }
}

impl StandIn {
    fn new() -> Self {
        // Nobody sends to it.
        let none = crate::mailbox::Settings {
            messages: 0,
            bytes: 0,
        };
        Self {
            mailbox: Mailbox::new(none),
            is_lost: AtomicBool::new(false),
        }
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        let Way { from: by, to, .. } = self.way;
        let is_watched = {
            let mut relations = self.table.lock();
            let Some(afar) = relations.afar.get_mut(&to) else {
                return; // it has ended
            };
            if afar.expecting.remove(&by).is_none() {
                return;
            }
            let is_watched = afar.monitors.contains(&by);
            relations.tidy_afar(to);
            is_watched
        };
        if !is_watched {
            self.table.peers().forget(self.way);
        }
    }
}
