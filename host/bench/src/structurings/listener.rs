//! The *listener* of a yardstick accepts connections, and hands a connection to an idle thread when
//! a request comes.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use wasm_pool_host::steps::{Step, Steps, Timing};

use crate::server::LISTEN;

/// Connections that wait for an idle thread. When there are more, the listener waits.
const QUEUE: usize = 1024;

/// Events taken at a time. More of them wait for the next turn.
const EVENTS: usize = 1024;

/// How long a client may take for the rest of a request that it has begun.
const PATIENCE: Duration = Duration::from_secs(10);

const LISTENER: Token = Token(0);

/// A connection on its way to a thread.
pub(crate) struct Handed {
    pub(crate) connection: Arc<Mutex<TcpStream>>,
    /// Ends when the thread has it.
    pub(crate) timing: Timing,
}

/// Watches its socket and all connections.
pub(crate) struct Listener {
    socket: TcpListener,
    poll: Poll,
    connections: HashMap<Token, Arc<Mutex<TcpStream>>>,
    next: usize,
    queue: SyncSender<Handed>,
    steps: Steps,
}

impl Listener {
    /// A listener on a free port, and the connections that it hands over.
    pub(crate) fn new(steps: Steps) -> io::Result<(Self, Receiver<Handed>)> {
        let (queue, idle) = sync_channel(QUEUE);
        let socket = TcpListener::bind(LISTEN)?;
        socket.set_nonblocking(true)?;
        let poll = Poll::new()?;
        watch(poll.registry(), &socket, LISTENER)?;
        let listener = Self {
            socket,
            poll,
            connections: HashMap::new(),
            next: LISTENER.0 + 1,
            queue,
            steps,
        };
        Ok((listener, idle))
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns when no thread is left.
    pub(crate) fn listen(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else if event.is_read_closed() {
                    self.connections.remove(&event.token());
                } else if self.hand_over(event.token()).is_none() {
                    return Ok(());
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.socket.accept() {
                Ok((stream, _client)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let token = Token(self.next);
            self.next += 1;
            watch(self.poll.registry(), &stream, token)?;
            self.connections.insert(token, Arc::new(Mutex::new(stream)));
        }
    }

    /// Nothing where no thread is left.
    fn hand_over(&self, token: Token) -> Option<()> {
        let Some(connection) = self.connections.get(&token) else {
            return Some(()); // it was closed in the same turn
        };
        let handed = Handed {
            connection: Arc::clone(connection),
            timing: self.steps.time(Step::HandOver),
        };
        self.queue.send(handed).ok()
    }
}

fn watch(registry: &Registry, socket: &impl AsRawFd, token: Token) -> io::Result<()> {
    registry.register(
        &mut SourceFd(&socket.as_raw_fd()),
        token,
        Interest::READABLE,
    )
}
