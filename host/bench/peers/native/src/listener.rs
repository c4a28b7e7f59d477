//! The *listener* of a yardstick accepts connections, and hands a connection to an idle thread when
//! a request comes.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use wasm_pool_host::steps::{Step, Steps, Timing};

/// A free port of this machine.
const LISTEN: &str = "127.0.0.1:0";

/// Connections that wait for an idle thread. When there are more, the listener waits.
pub(crate) const QUEUE: usize = 1024;

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

/// A socket on a free port.
pub(crate) fn socket() -> io::Result<TcpListener> {
    let socket = TcpListener::bind(LISTEN)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Accepts connections, and hands over those on which a request came. Returns when no thread is
/// left.
pub(crate) fn listen(
    socket: &TcpListener,
    queue: &SyncSender<Handed>,
    steps: &Steps,
) -> io::Result<()> {
    let mut poll = Poll::new()?;
    watch(poll.registry(), socket, LISTENER)?;
    let mut connections = HashMap::new();
    let mut last = LISTENER;
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some(stream) = accept(socket)? {
                    last = Token(last.0 + 1);
                    watch(poll.registry(), &stream, last)?;
                    connections.insert(last, Arc::new(Mutex::new(stream)));
                }
            } else if event.is_read_closed() {
                connections.remove(&event.token());
            } else if let Some(connection) = connections.get(&event.token()) {
                let handed = Handed {
                    connection: Arc::clone(connection),
                    timing: steps.time(Step::HandOver),
                };
                if queue.send(handed).is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// The next connection, if one waits.
fn accept(socket: &TcpListener) -> io::Result<Option<TcpStream>> {
    let stream = match socket.accept() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        accepted => accepted?.0,
    };
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Some(stream))
}

fn watch(registry: &Registry, socket: &impl AsRawFd, token: Token) -> io::Result<()> {
    let mut source = SourceFd(&socket.as_raw_fd());
    registry.register(&mut source, token, Interest::READABLE)
}
