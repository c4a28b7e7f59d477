//! An *outlet* is a descriptor with a thread of its own that writes to it. If nobody reads a pipe
//! or a terminal, only this thread waits. The bytes that wait to be written are bounded.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The most bytes of one write: the size of a Linux pipe. So a slow reader frees room little by
/// little.
const WRITE_BYTES: usize = 64 << 10;

/// The thread gathers lines for this time before it writes them. Waking the thread costs the caller
/// some microseconds, so only the first of the gathered lines wakes it.
const GATHERING: Duration = Duration::from_millis(1);

/// The thread writes a buffer of this size at once: gathering more saves nothing.
const GATHERED_BYTES: usize = 16 << 10;

/// The pause of the thread when the descriptor is full and in non-blocking mode, which a parent
/// process may have left on.
const RETRY: Duration = Duration::from_millis(10);

/// A larger buffer is freed after it has been written.
const KEPT_BYTES: usize = 256 << 10;

/// The longest time that a single line waits for a reader.
const SAY_PATIENCE: Duration = Duration::from_secs(1);

/// Writes one line, unless nobody reads it within a second.
///
/// # Errors
/// If the line could not be written.
pub fn say(descriptor: impl AsFd, line: &str) -> io::Result<()> {
    let outlet = Outlet::start(descriptor, "say", line.len())?;
    outlet.push(format!("{line}\n").as_bytes());
    match (outlet.drain(SAY_PATIENCE, SAY_PATIENCE), outlet.has_room()) {
        (0, result) => Ok(result.map(|_| ())?),
        (_unread, _) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A descriptor and the bytes that wait for it. The thread lives as long as the program.
#[derive(Clone, Debug)]
pub struct Outlet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    capacity: usize,
    /// Notified when the thread waits and there is something to write.
    more: Condvar,
    /// Notified when something was written.
    progress: Condvar,
    /// Notified when there is room, or never will be.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes that the thread has not taken yet.
    buffer: Vec<u8>,
    /// The number of all unwritten bytes: those in the buffer, and those that the thread has taken.
    waiting: usize,
    /// The number of bytes ever written.
    written: u64,
    /// Lines that found no room or could not be written.
    lost_lines: u64,
    /// The error of the last write, if it failed.
    error: Option<io::ErrorKind>,
    is_idle: bool,
    /// Where everything goes that the thread has not taken yet, if not where it has gone so far.
    redirected: Option<File>,
}

impl Outlet {
    /// Starts the thread. It writes to a duplicate of `descriptor`, without the locks of
    /// [`std::io`].
    ///
    /// # Errors
    /// If the system grants no descriptor or no thread.
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

    /// Has everything that is not being written yet go elsewhere.
    ///
    /// # Errors
    /// If the system grants no descriptor.
    pub fn redirect(&self, descriptor: impl AsFd) -> io::Result<()> {
        let file = File::from(descriptor.as_fd().try_clone_to_owned()?);
        self.0.state().redirected = Some(file);
        Ok(())
    }

    /// Queues a line, unless too many bytes already wait. Then the line is lost, and counted.
    pub fn offer(&self, line: &[u8], capacity: usize) {
        let mut state = self.0.state();
        if state.waiting.saturating_add(line.len()) > capacity {
            state.lost_lines += 1;
        } else {
            self.0.push(state, line);
        }
    }

    /// Queues bytes even if there is no room.
    pub fn push(&self, bytes: &[u8]) {
        self.0.push(self.0.state(), bytes);
    }

    /// Whether there is room.
    ///
    /// # Errors
    /// If the last write failed.
    pub fn has_room(&self) -> Result<bool, io::ErrorKind> {
        let state = self.0.state();
        match state.error {
            Some(error) => Err(error),
            None => Ok(state.waiting < self.0.capacity),
        }
    }

    /// Waits until there is room or a write fails.
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

    /// The number of lines lost so far.
    #[must_use]
    pub fn lost_lines(&self) -> u64 {
        self.0.state().lost_lines
    }

    /// Blocks until everything is written, or nothing was written for `stalled`, or `patience` is
    /// over. Returns the number of bytes that still wait.
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

    /// The main loop of the thread.
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
            let redirected = state.redirected.take();
            drop(state);
            if let Some(other) = redirected {
                *file = other; // closed outside the lock, which may take long
            }
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

    /// Bytes that can't be written are lost. Later bytes are tried again, because a full disk may
    /// have room again.
    fn lost<'a>(&self, rest: &'a [u8], error: io::ErrorKind) -> &'a [u8] {
        let mut state = self.state();
        state.error = Some(error);
        state.lost_lines += rest.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.gone(state, rest.len());
        &[]
    }

    fn gone(&self, mut state: MutexGuard<'_, State>, count: usize) {
        state.waiting -= count;
        // Waiters are woken only when there is much room, so that they aren't woken for every small
        // write.
        let tell = state.error.is_some() || state.waiting <= self.capacity / 2;
        drop(state);
        self.progress.notify_all();
        if tell {
            self.room.notify_waiters();
        }
    }
}
