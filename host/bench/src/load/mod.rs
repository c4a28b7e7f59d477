//! The *load*: connections that each send the next request as soon as the last is answered. Answers
//! are checked as well as timed, so that a server with wrong answers is not reported as fast.
//!
//! One thread drives any number of connections, since the servers need the cores. Bodies are not
//! kept: a thread reads all its connections into the same buffer.

mod connection;
mod response;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use connection::{Connection, Received};

/// The longest silence of all connections together. Also the longest time beyond its end that a run
/// waits for the first complete response. Slower servers can't be measured.
const PATIENCE: Duration = Duration::from_secs(10);

/// The interval at which a thread checks the clock if nothing happens. A measurement may end this
/// much later.
const TICK: Duration = Duration::from_millis(10);

/// The most bytes of one read. Large responses need few reads, and the buffer fits a core's cache.
const READ_BYTES: usize = 256 << 10;

/// The most events taken at once. Further events wait for the next call.
const EVENTS: usize = 1024;

/// The error of latencies is at most a thousandth.
const SIGNIFICANT_DIGITS: u8 = 3;

/// The load on a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) connections: usize,
    /// Whether a connection is kept for further requests, or closed after one.
    pub(crate) keep_alive: bool,
    /// One thread leaves most of the machine to the server. Use more threads on machines with cores
    /// to spare.
    pub(crate) threads: usize,
    /// The time before the measurement begins. It fills caches and lets a pool grow.
    pub(crate) warm_up: Duration,
    /// The time of the measurement. It is longer if no response is complete by then.
    pub(crate) duration: Duration,
    /// One of this many requests asks for this path instead, and its answer may have any status.
    /// All other answers must have status 200.
    pub(crate) fault: Option<(&'a str, u64)>,
}

/// The path of the requests, and the body of the answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
}

impl Load<'_> {
    /// A load of keep-alive connections, driven by one thread, without faults.
    pub(crate) fn new(connections: usize, warm_up: Duration, duration: Duration) -> Self {
        Self {
            connections,
            keep_alive: true,
            threads: 1,
            warm_up,
            duration,
            fault: None,
        }
    }
}

/// Runs a load against a server.
///
/// # Errors
/// If the server can't be reached, is silent, or answers wrongly.
pub(crate) fn run(
    address: SocketAddr,
    load: &Load<'_>,
    question: Question<'_>,
) -> io::Result<Tally> {
    let begin = Instant::now() + load.warm_up;
    let threads = load.threads.clamp(1, load.connections.max(1));
    let drive = |number: usize| {
        let connections = (load.connections + number) / threads;
        Driver::new(address, load, question, connections)?.drive(begin)
    };
    let mut total = Tally::new(begin)?;
    thread::scope(|scope| {
        let drivers: Vec<_> = (0..threads)
            .map(|number| scope.spawn(move || drive(number)))
            .collect();
        for driver in drivers {
            total.add(&driver.join().map_err(|_| io::Error::other("a panic"))??)?;
        }
        Ok(total)
    })
}

/// The connections of one thread.
struct Driver<'a> {
    poll: Poll,
    connections: Vec<Connection<'a>>,
    load: &'a Load<'a>,
    /// Requests so far.
    asked: u64,
}

impl<'a> Driver<'a> {
    fn new(
        address: SocketAddr,
        load: &'a Load<'a>,
        question: Question<'a>,
        connections: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let connections = (0..connections)
            .map(|number| Connection::open(address, load, question, poll.registry(), Token(number)))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            poll,
            connections,
            load,
            asked: 0,
        })
    }

    /// Sends requests and receives answers until the time is up.
    fn drive(mut self, begin: Instant) -> io::Result<Tally> {
        for token in 0..self.connections.len() {
            self.ask(token)?;
        }
        let end = begin + self.load.duration;
        let mut tally = Tally::new(Instant::now())?;
        let mut is_warm = false;
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_BYTES];
        let mut last_event = Instant::now();
        loop {
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            let now = Instant::now();
            if now >= begin && !is_warm {
                is_warm = true;
                tally.restart(now);
            }
            if now >= end && tally.requests() > 0 {
                tally.per_second = tally.responses / (now - tally.since).as_secs_f64();
                return Ok(tally);
            }
            if !events.is_empty() {
                last_event = now;
            }
            if now >= last_event + PATIENCE {
                return Err(self.too_late(&format!("were silent for {PATIENCE:?}")));
            }
            if now >= end + PATIENCE {
                return Err(self.too_late("had no complete response in time"));
            }
            for event in &events {
                self.receive(event.token().0, &mut buffer, &mut tally)?;
            }
        }
    }

    fn too_late(&self, problem: &str) -> io::Error {
        let connections = self.connections.len();
        let problem = format!("{connections} connections {problem}");
        io::Error::new(ErrorKind::TimedOut, problem)
    }

    /// Receives all answers that have arrived, and sends the next requests.
    fn receive(&mut self, token: usize, buffer: &mut [u8], tally: &mut Tally) -> io::Result<()> {
        loop {
            let connection = &mut self.connections[token];
            match connection.receive(buffer)? {
                Received::Nothing => return Ok(()),
                Received::Part(share) => tally.responses += share,
                Received::Complete { share, took, is_ok } => {
                    tally.responses += share;
                    tally.failed += u64::from(!is_ok);
                    tally.record(took)?;
                    if connection.is_idle() {
                        return self.ask(token);
                    }
                }
                Received::Closed => return self.ask(token),
            }
        }
    }

    fn ask(&mut self, token: usize) -> io::Result<()> {
        self.asked += 1;
        let fault = self.load.fault;
        let is_fault = fault.is_some_and(|(_, one_in)| self.asked.is_multiple_of(one_in));
        self.connections[token].ask(is_fault, self.poll.registry())
    }
}

/// The results of a load.
pub(crate) struct Tally {
    since: Instant,
    /// Responses, whatever their status. Each counts by the share of its bytes that arrived during
    /// the measurement. So the rate is right even if few responses become complete.
    responses: f64,
    /// Responses before the measurement.
    earlier: f64,
    pub(crate) per_second: f64,
    /// Responses whose status was not 200.
    pub(crate) failed: u64,
    /// Nanoseconds, of responses that became complete during the measurement.
    times: Histogram<u64>,
}

impl Tally {
    fn new(since: Instant) -> io::Result<Self> {
        Ok(Self {
            since,
            responses: 0.0,
            earlier: 0.0,
            per_second: 0.0,
            failed: 0,
            times: Histogram::new(SIGNIFICANT_DIGITS).map_err(io::Error::other)?,
        })
    }

    /// Begins the measurement.
    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.earlier = std::mem::take(&mut self.responses);
        self.failed = 0;
        self.times.reset();
    }

    fn record(&mut self, took: Duration) -> io::Result<()> {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.times.record(nanoseconds).map_err(io::Error::other)
    }

    fn add(&mut self, other: &Self) -> io::Result<()> {
        self.responses += other.responses;
        self.earlier += other.earlier;
        self.per_second += other.per_second;
        self.failed += other.failed;
        self.times.add(&other.times).map_err(io::Error::other)
    }

    /// Responses that became complete during the measurement.
    pub(crate) fn requests(&self) -> u64 {
        self.times.len()
    }

    /// Responses since the first request, the warm-up included. The CPU time per request is the
    /// server's CPU time divided by this number.
    pub(crate) fn responses_in_all(&self) -> f64 {
        self.earlier + self.responses
    }

    /// The highest latency of this share of the responses, the fastest first.
    pub(crate) fn latency_ms(&self, share: f64) -> f64 {
        self.times.value_at_quantile(share) as f64 / 1e6
    }
}
