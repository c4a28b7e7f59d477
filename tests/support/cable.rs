//! A *cable* is the way between one host and another address. A test cuts, heals, slows and closes
//! it, without privileges, and without an effect on other hosts.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// What is read at a time. A cut cable holds as much in each direction, and the sockets' buffers
/// hold some more.
const PIECE: usize = 16 * 1024;

/// A TCP proxy to one address. Dropping it closes all of its connections.
pub(crate) struct Cable {
    address: SocketAddr,
    ends: Arc<Ends>,
}

/// What the threads of a cable share.
struct Ends {
    target: SocketAddr,
    state: Mutex<State>,
    change: Condvar,
}

#[derive(Default)]
struct State {
    is_cut: bool,
    is_over: bool,
    bytes_per_second: Option<u64>,
    /// Both ends of each connection, so that they can be closed.
    sockets: Vec<TcpStream>,
}

impl Cable {
    /// Lays a cable to this address.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let ends = Arc::new(Ends {
            target,
            state: Mutex::default(),
            change: Condvar::new(),
        });
        thread::spawn({
            let ends = Arc::clone(&ends);
            move || ends.accept(&listener)
        });
        Self { address, ends }
    }

    /// Where to connect, to reach the other end.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it silently: both sides keep their connections, and nothing arrives. What they send
    /// arrives late, once the cable is healed, as TCP would send it again.
    pub(crate) fn cut(&self) {
        self.set(|state| state.is_cut = true);
    }

    /// Lets everything through again.
    pub(crate) fn heal(&self) {
        self.set(|state| state.is_cut = false);
    }

    /// Closes all connections. New ones are possible at once.
    pub(crate) fn close(&self) {
        self.set(State::close);
    }

    /// Lets so many bytes a second through, in each direction of each connection.
    pub(crate) fn slow(&self, bytes_per_second: u64) {
        self.set(|state| state.bytes_per_second = Some(bytes_per_second));
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.ends.lock());
        self.ends.change.notify_all();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.set(|state| {
            state.is_over = true;
            state.close();
        });
        // Wakes the thread that accepts.
        let _woken = TcpStream::connect(self.address);
    }
}

impl State {
    fn close(&mut self) {
        for socket in self.sockets.drain(..) {
            // Fails if the other side was quicker.
            let _closed = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Ends {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the cable is whole. Returns the pause that its speed asks for after so many
    /// bytes; an error once there is no cable.
    fn wait_whole(&self, bytes: usize) -> io::Result<Duration> {
        let state = self.lock();
        let state = self
            .change
            .wait_while(state, |state| state.is_cut && !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        if state.is_over {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let pause = state
            .bytes_per_second
            .map(|speed| bytes as f64 / speed as f64);
        Ok(Duration::from_secs_f64(pause.unwrap_or(0.0)))
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for near in listener.incoming() {
            if self.lock().is_over {
                return;
            }
            let (Ok(near), ends) = (near, Arc::clone(self)) else {
                continue;
            };
            // Whoever connects to a cut cable waits for the first byte, and others don't wait for
            // him. Nobody at the other end: the connection is closed.
            thread::spawn(move || ends.connect(near));
        }
    }

    fn connect(self: Arc<Self>, near: TcpStream) -> io::Result<()> {
        self.wait_whole(0)?;
        let far = TcpStream::connect(self.target)?;
        let pairs = [
            (near.try_clone()?, far.try_clone()?),
            (far.try_clone()?, near.try_clone()?),
        ];
        {
            let mut state = self.lock();
            state.sockets.extend([near, far]);
            if state.is_over {
                state.close();
            }
        }
        for (from, to) in pairs {
            from.set_nodelay(true)?;
            let ends = Arc::clone(&self);
            thread::spawn(move || {
                let how = if ends.pass(&from, &to).is_ok() {
                    Shutdown::Write
                } else {
                    Shutdown::Both
                };
                // Fails if the other side was quicker.
                let _closed = to.shutdown(how);
            });
        }
        Ok(())
    }

    /// Passes bytes on until the sender's end, which arrives no sooner than bytes would.
    fn pass(&self, mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
        let mut piece = [0; PIECE];
        loop {
            let read = from.read(&mut piece);
            let pause = self.wait_whole(*read.as_ref().unwrap_or(&0))?;
            let count = read?;
            if count == 0 {
                return Ok(());
            }
            to.write_all(&piece[..count])?;
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }
}
