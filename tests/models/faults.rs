//! The files of the host that the model checker runs, and the faults that their models must find.

/// Files of the host. Their models are in `src`.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// The first file is the module, and the other files are its submodules.
    pub(crate) files: &'static [&'static str],
    /// Sizes that must be smaller in a small case: the text, and its replacement.
    pub(crate) sizes: &'static [(&'static str, &'static str)],
    pub(crate) faults: &'static [Fault],
}

/// A fault, and the changes that put it in, one after the other. Each is a text that the files have
/// once, and its replacement.
pub(crate) struct Fault {
    pub(crate) words: &'static str,
    pub(crate) changes: &'static [(&'static str, &'static str)],
}

pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "scheduler",
        files: &["scheduler/cores.rs"],
        sizes: &[],
        faults: &[
            Fault {
                words: "a core that falls asleep does not look at its queue once more",
                changes: &[(
                    ".jobs.is_empty() || !self.leave_idle(core)",
                    ".jobs.len() < usize::MAX",
                )],
            },
            Fault {
                words: "a core leaves its waker after it has entered the list",
                changes: &[
                    (
                        "*self.cores[core].waker() = Some(cx.waker().clone());\n",
                        "",
                    ),
                    (
                        "self.queue(core).jobs.is_empty() ||",
                        "*self.cores[core].waker() = Some(cx.waker().clone());
                         self.queue(core).jobs.is_empty() ||",
                    ),
                ],
            },
            Fault {
                words: "who adds a job looks for a sleeper only before that",
                changes: &[(
                    "if self.leave_idle(core) {",
                    "if idle.is_some() && self.leave_idle(core) {",
                )],
            },
            Fault {
                words: "a core that is given jobs is not woken",
                changes: &[(
                    "extend(shared);\n        self.wake(other);",
                    "extend(shared);",
                )],
            },
            Fault {
                words: "a job is added to a core that has been taken off the list",
                changes: &[(
                    "let idle = self.idle().last().copied();",
                    "let idle = self.idle().pop();",
                )],
            },
            Fault {
                words: "a single job is left behind one that sees no ticks",
                changes: &[("waiting.div_ceil(2)", "waiting / 2")],
            },
            Fault {
                words: "cores sleep on when their scheduler is gone",
                changes: &[(
                    "for core in 0..self.cores.len() {\n            self.wake(core);",
                    "for _ in [(); 0] {",
                )],
            },
        ],
    },
    Part {
        name: "clock",
        files: &["sandbox/clock/running.rs"],
        sizes: &[],
        faults: &[
            Fault {
                words: "the clock parks without a look at the counts",
                changes: &[("if self.begun() == begun {", "if begun < u64::MAX {")],
            },
            Fault {
                words: "the clock looks at the counts before it says that it rests",
                changes: &[
                    (
                        "self.resting.store(true, Ordering::SeqCst);\n",
                        "let same = self.begun() == begun;\n",
                    ),
                    (
                        "if self.begun() == begun {",
                        "self.resting.store(true, Ordering::SeqCst); if same {",
                    ),
                ],
            },
            Fault {
                words: "a slice looks whether the clock rests before it is counted",
                changes: &[
                    (
                        "counts.begun.fetch_add(1, Ordering::SeqCst);",
                        "let resting = self.resting.load(Ordering::SeqCst);
                         counts.begun.fetch_add(1, Ordering::SeqCst);",
                    ),
                    ("if self.resting.load(Ordering::SeqCst) {", "if resting {"),
                ],
            },
            Fault {
                words: "a slice does not wake the clock",
                changes: &[("clock.unpark();", "")],
            },
            Fault {
                words: "a slice takes the time of the last tick, and then looks whether the clock rests",
                changes: &[
                    (
                        "let since_ms = if self.resting",
                        "let now_ms = self.now_ms.load(Ordering::Relaxed);
                         let since_ms = if self.resting",
                    ),
                    (
                        "self.now_ms.load(Ordering::Relaxed)\n        };",
                        "now_ms };",
                    ),
                ],
            },
            Fault {
                words: "the clock is awake before it knows the time",
                changes: &[
                    ("self.set_now(elapsed_ms());", ""),
                    (
                        "self.resting.store(false, Ordering::SeqCst);",
                        "self.resting.store(false, Ordering::SeqCst); self.set_now(elapsed_ms());",
                    ),
                ],
            },
        ],
    },
    Part {
        name: "mailbox",
        files: &["mailbox/mod.rs"],
        sizes: &[],
        faults: &[
            Fault {
                words: "a receiver leaves its waker some time after its look",
                changes: &[(
                    "contents.waiting = Some((wanted, cx.waker().clone()));",
                    "drop(contents);
                     self.lock().waiting = Some((wanted, cx.waker().clone()));",
                )],
            },
            Fault {
                words: "a message wakes nobody",
                changes: &[("self.waiting.take_if(awaited)", "None::<(Wanted, Waker)>")],
            },
            Fault {
                words: "a receiver does not look once more when it hears of the sender's end",
                changes: &[(
                    "let last = self.mailbox.try_receive(self.wanted);",
                    "let last = None;",
                )],
            },
            Fault {
                words: "a receiver looks for the sender's end before it leaves its waker",
                changes: &[
                    (
                        "let received = self.mailbox.poll_receive(cx, self.wanted);",
                        "let ended = self.from.is_some_and(Mailbox::is_closed);
                         let received = self.mailbox.poll_receive(cx, self.wanted);",
                    ),
                    (
                        "if self.asleep && self.from.is_some_and(Mailbox::is_closed) {",
                        "if self.asleep && ended {",
                    ),
                ],
            },
            Fault {
                words: "a sender that finds nothing to withdraw says that its time was over",
                changes: &[(
                    "None => Some(self.taken.try_recv().map_err(|_| MailError::NoProcess)),",
                    "None => None,",
                )],
            },
            Fault {
                words: "a sender whose time is over leaves its message",
                changes: &[
                    (
                        "self.withdraw().unwrap_or(Err(MailError::TimedOut))",
                        "Err(MailError::TimedOut)",
                    ),
                    (
                        "let queued = self.mailbox.lock().withdraw(self.number);",
                        "let queued = ();",
                    ),
                ],
            },
            Fault {
                words: "a mailbox that is closed takes messages",
                changes: &[("closed: true,", "closed: false,")],
            },
            Fault {
                words: "a mailbox that is closed keeps what is in it",
                changes: &[("drop(left);", "std::mem::forget(left);")],
            },
        ],
    },
    Part {
        name: "calls",
        files: &["call.rs"],
        sizes: &[],
        faults: &[
            Fault {
                words: "a caller leaves its waker some time after its look",
                changes: &[(
                    "arrival.waker = Some(cx.waker().clone());",
                    "drop(arrival);
                     self.arrival().waker = Some(cx.waker().clone());",
                )],
            },
            Fault {
                words: "a reply wakes nobody",
                changes: &[("arrival.waker.take()\n", "None::<Waker>\n")],
            },
            Fault {
                words: "whoever replies looks before it has the lock whether the caller waits",
                changes: &[(
                    "let mut arrival = self.arrival();
            if self.awaited.load(Ordering::Acquire) != tag {
                return Err(reply);
            }",
                    "if self.awaited.load(Ordering::Acquire) != tag {
                return Err(reply);
            }
            let mut arrival = self.arrival();",
                )],
            },
            Fault {
                words: "a reply to any call is a reply to the one that waits",
                changes: &[(
                    "if self.awaited.load(Ordering::Acquire) != tag {",
                    "if self.awaited.load(Ordering::Acquire) == 0 {",
                )],
            },
            Fault {
                words: "a caller whose time is over does not look for the reply once more",
                changes: &[(
                    "match self.give_up() {",
                    "self.give_up(); match None::<Reply> {",
                )],
            },
            Fault {
                words: "a caller whose time is over waits on",
                changes: &[(
                    "self.slot.awaited.store(0, Ordering::Release);
        arrival.waker = None;",
                    "arrival.waker = None;",
                )],
            },
            Fault {
                words: "a caller that is let go tells nobody",
                changes: &[("if self.is_waiting() {\n", "if false {\n")],
            },
            Fault {
                words: "an alarm that goes off too early is not set again",
                changes: &[(
                    "return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);",
                    "return Poll::Ready(());
            }
            return Poll::Pending;",
                )],
            },
            Fault {
                words: "an alarm is not set again for an earlier deadline",
                changes: &[("if sleep.deadline() > deadline {", "if false {")],
            },
        ],
    },
    Part {
        name: "row",
        files: &["table/row.rs"],
        sizes: &[],
        faults: &[
            Fault {
                words: "whoever runs the process does not look again once its waker is left",
                changes: &[(
                    "if self.is_killed() {\n                Poll",
                    "if false {\n                Poll",
                )],
            },
            Fault {
                words: "a kill takes the waker before it is to be seen",
                changes: &[
                    ("self.is_killed.store(true, Ordering::SeqCst);\n", ""),
                    (
                        "let waker = self.waker().take();",
                        "let waker = self.waker().take();
                         self.is_killed.store(true, Ordering::SeqCst);",
                    ),
                ],
            },
        ],
    },
    Part {
        name: "pool",
        files: &[
            "pool/mod.rs",
            "pool/lease.rs",
            "pool/seats.rs",
            "pool/stacks.rs",
        ],
        sizes: &[("const STACKS: usize = 32;", "const STACKS: usize = 2;")],
        faults: &[
            Fault {
                words: "a process that comes back looks for a line before it is on the stack",
                changes: &[(
                    "        if let Some(killed) = self.stacks.push(lease.given_back(), now) {
            return killed.end(Exit::Killed);
        }
        // The process is on the stack before `attention` is read. [`Pool::claim`] does both in the
        // other order, so that one side sees the other.
        if self.attention.load(Ordering::SeqCst) {",
                    "        let attention = self.attention.load(Ordering::SeqCst);
        self.stacks.push(lease.given_back(), now);
        if attention {",
                )],
            },
            Fault {
                words: "whoever gives a seat back looks for a line before that",
                changes: &[(
                    "        if self.seats.give_back() {
            self.all_ended.notify_waiters();
        }
        if self.attention.load(Ordering::SeqCst) {",
                    "        let attention = self.attention.load(Ordering::SeqCst);
        self.seats.give_back();
        if attention {",
                )],
            },
            Fault {
                words: "a request joins the line and says so after its look for what is free",
                changes: &[("self.attention.store(true, Ordering::SeqCst);\n", "")],
            },
            Fault {
                words: "a request that joins the line does not look once more for what is free",
                changes: &[("1 => self.find(Stacks::pop_surely),", "1 => None,")],
            },
            Fault {
                words: "a request that leaves the line takes its seat along",
                changes: &[(
                    "Ok(Grant::Seat(seat)) => drop(seat),",
                    "Ok(Grant::Seat(seat)) => std::mem::forget(seat),",
                )],
            },
            Fault {
                words: "a process that comes back for a line of which all have left is lost",
                changes: &[(
                    "Some(Grant::Process(lease)) => self.put_back(lease),",
                    "Some(Grant::Process(lease)) => std::mem::forget(lease),",
                )],
            },
            Fault {
                words: "a request that leaves the line ends the process that it was granted",
                changes: &[(
                    "Ok(Grant::Process(lease)) => self.pool.put_back(lease),",
                    "Ok(Grant::Process(lease)) => drop(lease),",
                )],
            },
            Fault {
                words: "a request that leaves the line may still be granted something",
                changes: &[("self.granted.close();", "")],
            },
            Fault {
                words: "a process that comes back to a closed pool stays",
                changes: &[(
                    "            drop(line);
            return self.end_all_idle();",
                    "            drop(line);
            return;",
                )],
            },
        ],
    },
];
