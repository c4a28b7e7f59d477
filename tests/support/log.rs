//! A server's log, read line by line as it comes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;

use super::PATIENCE;

/// The program's standard error, line by line as it arrives.
#[derive(Default)]
pub(super) struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
pub(super) struct Lines {
    pub(super) text: String,
    pub(super) entries: Vec<Value>,
    /// Lines that are not flat JSON objects, if the log is in JSON.
    pub(super) strangers: Vec<String>,
}

impl Log {
    pub(super) fn read(&self, errors: impl Read) {
        let (mut errors, mut line) = (BufReader::new(errors), Vec::new());
        loop {
            line.clear();
            let read = errors.read_until(b'\n', &mut line);
            read.expect("standard error can be read");
            let Some(whole) = line.strip_suffix(b"\n") else {
                // What was being written when the program was killed is no line.
                self.lock().text.push_str(&String::from_utf8_lossy(&line));
                return self.more.notify_all();
            };
            self.lock().push(&String::from_utf8_lossy(whole));
            self.more.notify_all();
        }
    }

    pub(super) fn wait<T>(&self, what: &str, found: impl Fn(&Lines) -> Option<T>) -> T {
        let start = Instant::now();
        let mut lines = self.lock();
        loop {
            if let Some(value) = found(&lines) {
                return value;
            }
            let left = PATIENCE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited in vain for this in the log: {what}"));
            lines = self
                .more
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Lines> {
        // A test that fails while it reads must not keep its server from ending.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn text(&self) -> String {
        self.lock().text.clone()
    }
}

impl Lines {
    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
        match serde_json::from_str(line) {
            Ok(entry @ Value::Object(_)) if is_flat(&entry) => self.entries.push(entry),
            _ => self.strangers.push(line.to_owned()),
        }
    }

    pub(super) fn living(&self) -> BTreeSet<u64> {
        let (mut used, mut living) = (BTreeSet::new(), BTreeSet::new());
        for entry in &self.entries {
            let pid = || {
                entry["pid"]
                    .as_u64()
                    .unwrap_or_else(|| panic!("no pid: {entry}"))
            };
            if entry["message"] == "process started" {
                assert!(used.insert(pid()), "a pid was used twice: {entry}");
                living.insert(pid());
            } else if entry["message"] == "process ended" {
                let never_started = used.insert(pid());
                assert!(
                    living.remove(&pid()) || never_started,
                    "a process ended twice: {entry}"
                );
            }
        }
        living
    }
}

fn is_flat(entry: &Value) -> bool {
    let has = |key: &str| entry.get(key).is_some_and(Value::is_string);
    let fields = entry.as_object().into_iter().flatten();
    has("timestamp")
        && has("level")
        && has("message")
        && fields.into_iter().all(|(_, value)| !value.is_object())
}
