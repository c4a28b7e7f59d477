//! The web server of every operating-systems course, as processes that talk: a listener takes each
//! request and sends it to one of its workers, and the worker answers the client itself.

mod site;

use wasm_pool_guest::mailbox::{self, ClientRequest, Incoming, Message, Outgoing, Pid};
use wasm_pool_guest::talk::{self, Answer};
use wasm_pool_guest::{Response, process, program};

/// Workers, started before the first request is received. Each answers one request at a time.
const WORKERS: usize = 8;

program!(prefork);

fn prefork() {
    match process::parent() {
        None => Listener::new().listen(),
        Some(_) => worker(),
    }
}

/// Receives a request, reads the file, answers the client itself: the listener has forgotten the
/// client. The answer and the wait for the next request are one call to the host.
fn worker() {
    talk::serve(|message| match message.content {
        Incoming::Request(asked) => {
            let response = site::answer(&asked.request);
            Some(Answer::response(asked.client, response))
        }
        Incoming::Data(_) | Incoming::Call(_) | Incoming::Down(_) => None,
    })
}

/// The root. It never waits for a worker, and so always has time for the next client.
struct Listener {
    workers: Vec<Pid>,
    /// Whose turn it is.
    next: usize,
    /// How many workers may still be started. Replacing a worker takes one of these, and each
    /// request adds one. So a worker that a request ends is always replaced. Workers that end
    /// without a request, for want of memory, are not started again for ever.
    starts: usize,
}

impl Listener {
    fn new() -> Self {
        Self {
            workers: Vec::with_capacity(WORKERS),
            next: 0,
            starts: WORKERS,
        }
    }

    fn listen(&mut self) {
        self.fill();
        let mut message = mailbox::receive();
        loop {
            message = match message.content {
                Incoming::Request(asked) => {
                    self.starts = WORKERS.min(self.starts + 1);
                    self.fill();
                    self.forward(&asked)
                }
                Incoming::Down(down) => {
                    if let Some(nth) = self.workers.iter().position(|&pid| pid == down.pid) {
                        self.workers.swap_remove(nth); // the others keep their turns
                    }
                    self.fill();
                    mailbox::receive()
                }
                Incoming::Data(_) | Incoming::Call(_) => mailbox::receive(), // nobody sends these
            }
        }
    }

    /// Starts workers for those that are missing. What fails now is tried again at the next
    /// message.
    fn fill(&mut self) {
        while self.workers.len() < WORKERS && self.starts > 0 {
            self.starts -= 1;
            match process::spawn_monitor(&[]) {
                Ok(pid) => self.workers.push(pid),
                Err(error) => {
                    eprintln!("a worker can't be started: {}", error.name());
                    return;
                }
            }
        }
    }

    /// Sends a request to the next worker that has room for it: they take turns. Then waits for the
    /// next message.
    fn forward(&mut self, asked: &ClientRequest) -> Message {
        for _ in 0..self.workers.len() {
            let worker = self.workers[self.next % self.workers.len()];
            self.next = (self.next + 1) % self.workers.len();
            // A copy: what is sent is gone, also if it doesn't arrive.
            let request = Outgoing::Request(asked.clone());
            if let Ok(next) = mailbox::send_and_receive(worker, request) {
                return next;
            }
        }
        let _client_has_left = talk::respond(asked.client, busy());
        mailbox::receive()
    }
}

/// What a client gets if there is no worker, or none has room in its mailbox.
fn busy() -> Response {
    Response::text(503, "All workers are busy.\n").with_header("retry-after", "1")
}
