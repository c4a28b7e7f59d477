//! An *outlet* is a descriptor that a thread of its own writes to. A pipe or a terminal that nobody
//! reads holds up that thread and nobody else. What waits to be written is bounded in bytes.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// One write takes no more, so that a slow reader frees room little by little: a Linux pipe's size.
const WRITE_BYTES: usize = 64 << 10;

/// How long the thread gathers lines before it writes them. Waking it costs whoever pushes a line
/// some microseconds: so it is woken for the first of these lines only.
const GATHERING: Duration = Duration::from_millis(1);

/// With so much to write, gathering more saves nothing.
const GATHERED_BYTES: usize = 16 << 10;

/// How long the thread waits where the descriptor is in non-blocking mode, which a parent may have
/// left on, and full.
const RETRY: Duration = Duration::from_millis(10);

/// A buffer that has grown beyond this is given back when it has been written.
const KEPT_BYTES: usize = 256 << 10;

/// How long one line that is said by itself waits for a reader.
const SAY_PATIENCE: Duration = Duration::from_secs(1);

/// Writes one line, unless nobody reads it within a second.
///
/// # Errors
/// Where it could not be written.
pub fn say(descriptor: impl AsFd, line: &str) -> io::Result<()> {
    let outlet = Outlet::start(descriptor, "say", line.len())?;
    outlet.push(format!("{line}\n").as_bytes());
    match (outlet.drain(SAY_PATIENCE, SAY_PATIENCE), outlet.has_room()) {
        (0, result) => Ok(result.map(|_| ())?),
        (_unread, _) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A descriptor and what waits to be written to it. The thread lives as long as the program.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    capacity: usize,
    /// Told when there is something to write and the thread waits for it.
    more: Condvar,
    /// Told when something was written.
    progress: Condvar,
    /// Told when there is room, or never will be.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the thread has not taken yet.
    buffer: Vec<u8>,
    /// All that is not written yet: the buffer, and what the thread has taken.
    waiting: usize,
    /// All that was ever written.
    written: u64,
    /// Lines that found no room, or could not be written.
    lost_lines: u64,
    /// How the last write ended, if not well.
    error: Option<io::ErrorKind>,
    is_idle: bool,
}

impl Outlet {
    /// Starts the thread. It writes to a duplicate of `descriptor`: the locks of [`std::io`] are
    /// not involved.
    ///
    /// # Errors
    /// Where there can't be another descriptor, or another thread.
    pub fn start(descriptor: impl AsFd, name: &str, capacity: usize) -> io::Result<Self> {
        let mut file = File::from(descriptor.as_fd().try_clone_to_owned()?);
        let outlet = Self(Arc::new(Shared {
            state: Mutex::default(),
            capacity,
            more: Condvar::new(),
            progress: Condvar::new(),
            room: Notify::new(),
        }));
        let shared = Arc::clone(&outlet.0);
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || shared.write(&mut file))?;
        Ok(outlet)
    }

    /// Has a line written, unless so many bytes wait already: then it is lost, and counted.
    pub fn offer(&self, line: &[u8], capacity: usize) {
        let mut state = self.0.state();
        if state.waiting.saturating_add(line.len()) > capacity {
            state.lost_lines += 1;
        } else {
            self.0.push(state, line);
        }
    }

    /// Has this written, even where there is no room.
    pub fn push(&self, bytes: &[u8]) {
        self.0.push(self.0.state(), bytes);
    }

    /// Whether there is room.
    ///
    /// # Errors
    /// Where the last write failed.
    pub fn has_room(&self) -> Result<bool, io::ErrorKind> {
        let state = self.0.state();
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.waiting < self.0.capacity),
        }
    }

    /// Waits until there is room, or a write has failed.
    pub async fn room(&self) {
        loop {
            let told = self.0.room.notified();
            if self.has_room() != Ok(false) {
                return;
            }
            told.await;
        }
    }

    /// Waits until a write fails.
    pub async fn failed(&self) -> io::ErrorKind {
        loop {
            let told = self.0.room.notified();
            if let Err(error) = self.has_room() {
                return error;
            }
            told.await;
        }
    }

    /// Lines that were lost so far.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.0.state().lost_lines
    }

    /// Blocks until all is written, or nothing was for as long as `stalled`, or `patience` is over.
    /// Returns how many bytes still wait.
    #[must_use]
    pub fn drain(&self, stalled: Duration, patience: Duration) -> usize {
        let end = Instant::now() + patience;
        let mut state = self.0.state();
        let (mut written, mut give_up) = (state.written, end.min(Instant::now() + stalled));
        while state.waiting > 0 {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.progress.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.written != written {
                written = state.written;
                give_up = end.min(Instant::now() + stalled);
            }
        }
        state.waiting
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut state: MutexGuard<'_, State>, bytes: &[u8]) {
        state.buffer.extend_from_slice(bytes);
        state.waiting += bytes.len();
        let is_idle = std::mem::take(&mut state.is_idle);
        drop(state);
        if is_idle {
            self.more.notify_one();
        }
    }

    /// The thread.
    fn write(&self, file: &mut File) {
        let mut taken = Vec::new();
        loop {
            let mut state = self.state();
            while state.buffer.is_empty() {
                state.is_idle = true;
                let told = self.more.wait(state);
                state = told.unwrap_or_else(PoisonError::into_inner);
            }
            state.is_idle = false;
            if state.buffer.len() < GATHERED_BYTES {
                drop(state);
                std::thread::sleep(GATHERING);
                state = self.state();
            }
            std::mem::swap(&mut state.buffer, &mut taken);
            drop(state);
            let mut rest = &*taken;
            while !rest.is_empty() {
                match file.write(&rest[..rest.len().min(WRITE_BYTES)]) {
                    Ok(0) => rest = self.lost(rest, io::ErrorKind::WriteZero),
                    Ok(count) => {
                        rest = &rest[count..];
                        self.wrote(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::sleep(RETRY);
                    }
                    Err(error) => rest = self.lost(rest, error.kind()),
                }
            }
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
        }
    }

    fn wrote(&self, count: usize) {
        let mut state = self.state();
        state.error = None;
        state.written += count as u64;
        self.gone(state, count);
    }

    /// What can't be written is lost; what comes later is tried again: a disk that was full has
    /// room some day.
    fn lost<'a>(&self, rest: &'a [u8], error: io::ErrorKind) -> &'a [u8] {
        let mut state = self.state();
        state.error = Some(error);
        state.lost_lines += rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.gone(state, rest.len());
        &[]
    }

    fn gone(&self, mut state: MutexGuard<'_, State>, count: usize) {
        state.waiting -= count;
        // Those who wait for room wait for much of it, so that they are not woken for every little.
        let tell = state.error.is_some() || state.waiting <= self.capacity / 2;
        drop(state);
        self.progress.notify_all();
        if tell {
            self.room.notify_waiters();
        }
    }
}
