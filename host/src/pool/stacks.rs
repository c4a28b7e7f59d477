//! Idle processes, in one *stack* per thread, most recently used last. The memory of a process that
//! ran on a thread is in that core's cache. Moving it to another core costs more than a small call.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Instant;

use super::lease::Lease;
use crate::pid::Pid;
use crate::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::threads;

/// Most machines have fewer cores. With more threads than stacks, threads share.
const STACKS: usize = 32;

#[derive(Debug)]
pub(super) struct Stacks([Stack; STACKS]);

#[derive(Debug, Default)]
#[repr(align(128))] // two cache lines: threads that write here must not slow each other down
struct Stack {
    idle: Mutex<VecDeque<Idle>>,
    /// The length of `idle`, readable without the lock. Another thread may see a change late.
    len: AtomicUsize,
}

#[derive(Debug)]
struct Idle {
    lease: Lease,
    since: Instant,
}

impl Stacks {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| Stack::default()))
    }

    /// Takes this thread's most recently used process. If this thread has none, takes the most
    /// recently used process of all other threads. So few clients keep few processes busy, and the
    /// others stay idle. May miss a process that another thread has just put on its stack.
    pub(super) fn pop(&self) -> Option<Lease> {
        self.pop_where(|stack| stack.len.load(Ordering::Relaxed) > 0)
    }

    /// As [`Stacks::pop`], but misses no process, since it looks under the lock of each stack. The
    /// caller has written a value before; the pusher reads the value after its push. The lock alone
    /// ensures that one of the two sees the other. If the look comes first, its unlocking comes
    /// before the push's locking, and so the write before the read. If the push comes first, the
    /// look finds the process.
    pub(super) fn pop_surely(&self) -> Option<Lease> {
        self.pop_where(|_| true)
    }

    fn pop_where(&self, may_have: impl Fn(&Stack) -> bool) -> Option<Lease> {
        if let Some(idle) = self.0[threads::slot(STACKS)].take(VecDeque::pop_back) {
            return Some(idle.lease);
        }
        // Another thread may be faster. Then another stack may still have a process.
        while let Some(stack) = self.most_recent(&may_have) {
            if let Some(idle) = stack.take(VecDeque::pop_back) {
                return Some(idle.lease);
            }
        }
        None
    }

    fn most_recent(&self, may_have: impl Fn(&Stack) -> bool) -> Option<&Stack> {
        let used = self.0.iter().filter(|stack| may_have(stack));
        let since = used.filter_map(|stack| Some((stack.idle().back()?.since, stack)));
        let recent = since.max_by_key(|(since, _)| *since);
        recent.map(|(_, stack)| stack)
    }

    /// Puts a process on this thread's stack. Returns the process if it has been killed. A kill
    /// marks the process first, and then looks for it under the same lock.
    pub(super) fn push(&self, lease: Lease, since: Instant) -> Option<Lease> {
        let stack = &self.0[threads::slot(STACKS)];
        let mut idle = stack.idle();
        if lease.process().row().is_killed() {
            return Some(lease);
        }
        idle.push_back(Idle { lease, since });
        stack.len.store(idle.len(), Ordering::Relaxed);
        None
    }

    /// Whether no thread has an idle process. Another thread may just be putting one back.
    pub(super) fn are_empty(&self) -> bool {
        let has_none = |stack: &Stack| stack.len.load(Ordering::Relaxed) == 0;
        has_none(&self.0[threads::slot(STACKS)]) && self.0.iter().all(has_none)
    }

    /// The number of idle processes. Other threads may just be taking or putting back some.
    #[cfg(feature = "cluster")]
    pub(super) fn len(&self) -> usize {
        let stacks = self.0.iter();
        stacks.map(|stack| stack.len.load(Ordering::Relaxed)).sum()
    }

    /// The number of processes on this thread's stack.
    pub(super) fn len_here(&self) -> usize {
        self.0[threads::slot(STACKS)].len.load(Ordering::Relaxed)
    }

    pub(super) fn remove(&self, pid: Pid) -> Option<Lease> {
        let mut each = self.0.iter();
        let found = each.find_map(|stack| {
            stack.take(|idle| {
                let at = idle.iter().position(|idle| idle.lease.pid() == pid)?;
                idle.remove(at)
            })
        });
        found.map(|idle| idle.lease)
    }

    pub(super) fn take_all(&self) -> Vec<Lease> {
        self.take_idle_since(Instant::now(), usize::MAX)
    }

    /// Takes up to `most` processes that have been idle since `then` or longer.
    pub(super) fn take_idle_since(&self, then: Instant, most: usize) -> Vec<Lease> {
        let mut taken = Vec::new();
        for stack in &self.0 {
            let is_old = |idle: &mut Idle| idle.since <= then;
            while taken.len() < most
                && let Some(idle) = stack.take(|idle| idle.pop_front_if(is_old))
            {
                taken.push(idle.lease);
            }
        }
        taken
    }
}

impl Stack {
    fn take(&self, take: impl FnOnce(&mut VecDeque<Idle>) -> Option<Idle>) -> Option<Idle> {
        let mut idle = self.idle();
        let taken = take(&mut idle)?;
        self.len.store(idle.len(), Ordering::Relaxed);
        Some(taken)
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
