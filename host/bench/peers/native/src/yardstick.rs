//! The *yardsticks*: servers without wasm that answer every request with one file. A listener hands
//! the connection of a client who has asked to an idle thread. The thread receives the request, and
//! either reads the file itself or creates a process for that by fork and exec.
//!
//! Yardsticks do less than the host on purpose: nothing but `GET`, one file, no limits, no log.
//! Connections are kept, and system calls wait.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use wasm_pool_host::descriptors;
use wasm_pool_host::steps::{Step, Steps};

use crate::cgi;
use crate::listener::{self, Handed};
use crate::task::Task;

/// More than the head of any request that the bench sends.
const HEAD_BYTES: usize = 16 << 10;

const FAILED: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n";

/// The settings of such a server.
#[derive(Clone, Debug)]
pub struct Yardstick {
    /// Every request is answered with the present content of this file.
    pub file: PathBuf,
    /// Whether a process answers that is created by fork and exec, or the thread itself.
    pub fork_exec: bool,
    /// Threads that take requests.
    pub workers: usize,
    /// Whether it heeds the paths of the crash drill.
    pub drill: bool,
    /// Whether it times its steps.
    pub steps: bool,
}

impl Yardstick {
    /// Starts serving, on threads of its own, until this program ends. Prints its address.
    ///
    /// # Errors
    /// Where the system gives no thread or no port.
    pub fn start(self) -> anyhow::Result<Steps> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        descriptors::raise();
        // The drill crashes on purpose: nobody wants its core dumps.
        let nothing = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(Resource::Core, nothing)?;
        let (workers, steps) = (self.workers, Steps::on_if(self.steps));
        let (queue, idle) = sync_channel(listener::QUEUE);
        let socket = listener::socket()?;
        let address = socket.local_addr()?;
        let native = Arc::new(Native {
            program: std::env::current_exe()?,
            yardstick: self,
            steps: steps.clone(),
            idle: Mutex::new(idle),
        });
        // A thread has its memory once it has run, and whoever reads the address may ask for that
        // next.
        let running = Arc::new(Barrier::new(workers + 1));
        for _ in 0..workers {
            let (native, running) = (Arc::clone(&native), Arc::clone(&running));
            thread::Builder::new().spawn(move || {
                running.wait();
                native.work();
            })?;
        }
        running.wait();
        let timed = steps.clone();
        thread::Builder::new().spawn(move || match listener::listen(&socket, &queue, &timed) {
            Ok(()) => {}
            Err(error) => eprintln!("yardstick: the listener failed: {error}"),
        })?;
        writeln!(io::stdout(), "yardstick: http://{address} ")?;
        Ok(steps)
    }
}

/// The parts of a request that matter here.
struct Asked {
    path: String,
    closes: bool,
}

/// The state that all threads share.
struct Native {
    program: PathBuf,
    yardstick: Yardstick,
    steps: Steps,
    /// Idle threads wait here.
    idle: Mutex<Receiver<Handed>>,
}

impl Native {
    /// The life of a thread.
    fn work(&self) {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let next = idle.recv();
            drop(idle);
            let Ok(Handed { connection, timing }) = next else {
                return;
            };
            drop(timing);
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            if self.serve(&connection).is_err() {
                // The listener notices, and forgets the connection. It may be closed already.
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }

    /// Serves one request, if there is one.
    ///
    /// # Errors
    /// Where the connection is of no use any longer.
    fn serve(&self, mut connection: &TcpStream) -> io::Result<()> {
        let Some(request) = self.receive(connection)? else {
            return Ok(());
        };
        let task = if self.yardstick.drill {
            Task::of(request.path.trim_start_matches('/'))
        } else {
            Task::Answer
        };
        let file = &self.yardstick.file;
        let response = if self.yardstick.fork_exec {
            cgi::respond(&self.program, task, file, &self.steps)
        } else {
            self.respond(task).map_err(anyhow::Error::from)
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

    /// The request that has come; nothing if another thread has taken it already.
    fn receive(&self, mut connection: &TcpStream) -> io::Result<Option<Asked>> {
        let mut head = [0; HEAD_BYTES];
        let mut got = match rustix::net::recv(connection, &mut head, RecvFlags::DONTWAIT) {
            Err(Errno::WOULDBLOCK) => return Ok(None),
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
        let head = std::str::from_utf8(&head[..got]).map_err(io::Error::other)?;
        Ok(Some(Asked {
            path: head.split(' ').nth(1).unwrap_or_default().to_owned(),
            closes: head.contains("\r\nconnection: close\r\n"),
        }))
    }

    /// Answers without another process.
    fn respond(&self, task: Task) -> io::Result<Vec<u8>> {
        let timing = self.steps.time(Step::Files);
        let body = read(&self.yardstick.file)?;
        drop(timing);
        let _timing = self.steps.time(Step::Run);
        task.perform();
        Ok(response(&body))
    }
}

/// Opens the file, asks for its size, reads it, and closes it.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn response(body: &[u8]) -> Vec<u8> {
    let mut response =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    response.extend_from_slice(body);
    response
}
