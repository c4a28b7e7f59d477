//! The *yardsticks*: servers without wasm that answer every request with one file. A listener notices that
//! a client has asked, and hands its connection to an idle thread; the thread receives the request, and
//! either reads the file itself or has a process do so that it creates by fork and exec.
//!
//! They have less to do than the host, and that is the point of a yardstick: nothing but `GET`, one file, no
//! limits, no log. Connections are kept, and system calls wait.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use wasm_pool_host::steps::{Step, Steps, Timing};

use super::cgi;
use super::crash::Task;
use crate::cli::{Yardstick, YardstickKind};
use crate::descriptors;

/// Connections that wait for an idle thread; when there are more, the listener waits.
const QUEUE: usize = 1024;

/// Events taken at a time. More of them wait for the next turn.
const EVENTS: usize = 1024;

/// More than the head of any request that the bench sends.
const HEAD_BYTES: usize = 16 << 10;

/// How long a client may take for the rest of a request that it has begun.
const PATIENCE: Duration = Duration::from_secs(10);

const FAILED: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

const LISTENER: Token = Token(0);

/// Starts serving, on threads of its own, until the program ends; says where.
pub(crate) fn start(args: Yardstick) -> anyhow::Result<Steps> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    descriptors::raise();
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, no_core)?; // the drill's crashes are none to look into
    let steps = if args.steps {
        Steps::on()
    } else {
        Steps::default()
    };
    let native = Arc::new(Native {
        program: std::env::current_exe()?,
        kind: args.kind,
        file: args.file,
        drill: args.drill,
        steps: steps.clone(),
    });
    let (queue, idle) = sync_channel(QUEUE);
    let idle = Arc::new(Mutex::new(idle));
    for _ in 0..args.workers {
        let (native, idle) = (Arc::clone(&native), Arc::clone(&idle));
        std::thread::Builder::new().spawn(move || native.work(&idle))?;
    }
    let mut listener = Listener::new(queue, steps.clone())?;
    let address = listener.socket.local_addr()?;
    std::thread::Builder::new().spawn(move || match listener.listen() {
        Ok(()) => {}
        Err(error) => eprintln!("yardstick: the listener failed: {error}"),
    })?;
    writeln!(io::stdout(), "yardstick: http://{address} ")?;
    Ok(steps)
}

/// A connection on its way to a thread.
struct Handed {
    connection: Arc<Mutex<TcpStream>>,
    /// Ends when the thread has it.
    timing: Timing,
}

/// Accepts connections, and sees on which of them something has come.
struct Listener {
    socket: TcpListener,
    poll: Poll,
    connections: HashMap<Token, Arc<Mutex<TcpStream>>>,
    next: usize,
    queue: SyncSender<Handed>,
    steps: Steps,
}

impl Listener {
    fn new(queue: SyncSender<Handed>, steps: Steps) -> io::Result<Self> {
        let socket = TcpListener::bind(super::LISTEN)?;
        socket.set_nonblocking(true)?;
        let poll = Poll::new()?;
        watch(poll.registry(), &socket, LISTENER)?;
        Ok(Self {
            socket,
            poll,
            connections: HashMap::new(),
            next: LISTENER.0 + 1,
            queue,
            steps,
        })
    }

    /// Returns when no thread is left to hand anything to.
    fn listen(&mut self) -> io::Result<()> {
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

/// What all threads share.
struct Native {
    program: PathBuf,
    kind: YardstickKind,
    file: PathBuf,
    drill: bool,
    steps: Steps,
}

impl Native {
    /// The life of a thread.
    fn work(&self, idle: &Mutex<Receiver<Handed>>) {
        loop {
            let next = idle.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Handed { connection, timing }) = next else {
                return;
            };
            drop(timing);
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            if self.serve(&connection).is_err() {
                // The listener sees that, and forgets it. It may be closed already.
                let _ = connection.shutdown(std::net::Shutdown::Both);
            }
        }
    }

    /// One request, if there is one.
    ///
    /// # Errors
    /// Where the connection is of no use any longer.
    fn serve(&self, mut connection: &TcpStream) -> io::Result<()> {
        let Some(request) = self.receive(connection)? else {
            return Ok(());
        };
        let task = if self.drill {
            Task::of_path(&request.path)
        } else {
            Task::Answer
        };
        let response = match self.kind {
            YardstickKind::Threads => self.respond(task).map_err(anyhow::Error::from),
            YardstickKind::ForkExec => cgi::respond(&self.program, task, &self.file, &self.steps),
        };
        let response = response.unwrap_or_else(|error| {
            eprintln!("yardstick: {error:#}");
            FAILED.to_vec()
        });
        let timing = self.steps.time(Step::Reply);
        connection.write_all(&response)?;
        drop(timing);
        if request.closes {
            return Err(ErrorKind::NotConnected.into());
        }
        Ok(())
    }

    /// The request that has come; nothing if an event told of what another thread had taken already.
    fn receive(&self, mut connection: &TcpStream) -> io::Result<Option<Asked>> {
        let mut head = [0; HEAD_BYTES];
        let mut got = match rustix::net::recv(connection, &mut head, RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            received => received?.0,
        };
        let _timing = self.steps.time(Step::Receive);
        let mut last = got;
        while !head[..got].ends_with(b"\r\n\r\n") {
            if last == 0 || got == HEAD_BYTES {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            last = connection.read(&mut head[got..])?;
            got += last;
        }
        Ok(Asked::parse(&head[..got]))
    }

    /// What a thread does by itself.
    fn respond(&self, task: Task) -> io::Result<Vec<u8>> {
        let timing = self.steps.time(Step::Files);
        let body = read(&self.file)?;
        drop(timing);
        let _timing = self.steps.time(Step::Run);
        task.perform();
        Ok(response(&body))
    }
}

/// What is of interest in a request.
struct Asked {
    path: String,
    closes: bool,
}

impl Asked {
    fn parse(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let path = head.split(' ').nth(1)?.to_owned();
        let closes = head.contains("\r\nconnection: close\r\n");
        Some(Self { path, closes })
    }
}

/// Opened, asked for its size, read, closed.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn response(body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}
