//! *Ancestry*: which process is an ancestor of which, and how to end a process with all its
//! descendants. Both run under the table's lock, so neither may cost more in a deeper tree.

use super::{ProcessError, Relations, Table};
use crate::exit::Exit;
use crate::pid::Pid;
use crate::scheduler::Task;

impl Table {
    /// Ends a descendant of `by`.
    ///
    /// # Errors
    /// [`ProcessError::NoProcess`] and [`ProcessError::NotYours`].
    pub(crate) fn kill(&self, by: Pid, pid: Pid) -> Result<(), ProcessError> {
        let mut terminating = Terminating::of([pid]);
        {
            let mut relations = self.lock();
            let ancestors = relations.process(by)?.ancestors;
            if pid == by || relations.ancestor(pid, ancestors)? != by {
                return Err(ProcessError::NotYours);
            }
            relations.signal_exit(&mut terminating);
        }
        self.terminate(terminating);
        Ok(())
    }

    /// Ends any process of a program. Returns whether the process existed.
    pub(crate) fn signal(&self, pid: Pid, exit: Exit) -> bool {
        let mut terminating = Terminating::by(pid, exit);
        {
            let mut relations = self.lock();
            if !relations.processes.contains_key(&pid) {
                return false;
            }
            relations.signal_exit(&mut terminating);
        }
        self.terminate(terminating);
        true
    }

    /// Ends all processes, and refuses new ones.
    pub(crate) fn close(&self) {
        let roots = {
            let mut relations = self.lock();
            relations.closed = true;
            let processes = relations.processes.iter();
            let roots = processes.filter(|(_, process)| process.parent.is_none());
            Terminating::of(roots.map(|(&pid, _)| pid))
        };
        self.terminate(roots);
    }

    /// Whether all processes are told to end.
    #[must_use]
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Tells these processes and their descendants to end, in batches that release the table's lock
    /// in between. This terminates: a process that has been told can't have more children.
    pub(super) fn terminate(&self, mut terminating: Terminating) {
        loop {
            terminating.tasks.clear(); // outside the lock: ending a process wakes a core
            if terminating.waiting.is_empty() {
                return;
            }
            self.lock().signal_exit(&mut terminating);
        }
    }
}

impl Relations {
    /// The number of ancestors of a new child of `parent`, and the ancestor that the child jumps
    /// to. Jumps are as long as those of a skew-binary list: after two jumps of the same length in
    /// a row comes one that spans both.
    pub(super) fn child_ancestry(&self, parent: Pid) -> (u32, (Pid, u32)) {
        let Some(process) = self.processes.get(&parent) else {
            return (1, (parent, 0)); // can't happen: the caller found it under the same lock
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

    /// The process on the path from `pid` up to the root that has this many ancestors.
    pub(super) fn ancestor(&self, pid: Pid, ancestors: u32) -> Result<Pid, ProcessError> {
        let mut at = pid;
        loop {
            // A process whose ancestor is gone has been told to end too.
            let process = self.processes.get(&at).ok_or(ProcessError::NoProcess)?;
            at = match (process.jump, process.parent) {
                _ if process.ancestors <= ancestors => return Ok(at),
                ((far, above_far), _) if above_far >= ancestors => far,
                (_, Some(parent)) => parent,
                (_, None) => return Ok(at),
            };
        }
    }

    /// Tells a batch of these processes to end, and appends their children. A process that has been
    /// told before keeps its first reason.
    pub(super) fn signal_exit(&mut self, terminating: &mut Terminating) {
        /// A batch takes a few microseconds under the lock.
        const AT_ONCE: usize = 64;
        for _ in 0..AT_ONCE {
            let Some((pid, exit)) = terminating.waiting.pop() else {
                return;
            };
            let Some(process) = self.processes.get_mut(&pid) else {
                continue;
            };
            terminating.tasks.extend(process.task.take());
            if process.exit_signal.is_none() {
                process.exit_signal = Some(exit);
                process.row.kill();
                // Nobody has killed the processes of a program that is stopped.
                let exit = if exit == Exit::Stopped {
                    exit
                } else {
                    Exit::Killed
                };
                let children = process.children.iter();
                let children = children.map(|&child| (child, exit));
                terminating.waiting.extend(children);
            }
        }
    }
}

/// Processes to end, with all their descendants.
#[derive(Debug)]
pub(super) struct Terminating {
    waiting: Vec<(Pid, Exit)>,
    /// Tasks of the processes that have been told. Dropping a task ends its process.
    tasks: Vec<Task>,
}

impl Terminating {
    pub(super) fn of(pids: impl IntoIterator<Item = Pid>) -> Self {
        let pids = pids.into_iter();
        Self {
            waiting: pids.map(|pid| (pid, Exit::Killed)).collect(),
            tasks: Vec::new(),
        }
    }

    /// Ends one process for this reason. Its descendants are killed, or stopped with it.
    pub(super) fn by(pid: Pid, exit: Exit) -> Self {
        Self {
            waiting: vec![(pid, exit)],
            tasks: Vec::new(),
        }
    }
}
