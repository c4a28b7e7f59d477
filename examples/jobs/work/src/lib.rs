//! A program that sends mails: each of its processes takes a job, does it, and says that it is
//! done. Processes may end at any moment, and here they do. What they had begun comes again.

use std::thread::sleep;
use std::time::Duration;

use wasm_pool_guest::mailbox::Incoming;
use wasm_pool_guest::queue::{self, Job};
use wasm_pool_guest::talk::{self, Answer};
use wasm_pool_guest::{Response, process, program};

/// The queue that `accept` puts mails into.
const MAILS: &str = "mails";

/// Processes that send mails, on each host.
const SENDERS: usize = 4;

/// The longest wait for a job. After it, the process waits again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause after which something is tried again that could not be done.
const PAUSE: Duration = Duration::from_secs(1);

/// A job is unlucky in so many attempts at most.
const UNLUCKY_ATTEMPTS: u32 = 2;

program!(run);

fn run() {
    match process::parent() {
        None => supervise(),
        Some(_) => send_mails(),
    }
}

/// The root process: it starts another sender where one has ended, and tells clients how many.
fn supervise() {
    for _ in 0..SENDERS {
        start_sender();
    }
    let mut ended = 0_u64;
    talk::serve(|message| match message.content {
        Incoming::Request(asked) => {
            let text = format!("{SENDERS} senders, and {ended} that have ended\n");
            Some(Answer::response(asked.client, Response::text(200, text)))
        }
        Incoming::Down(_) => {
            ended += 1;
            start_sender();
            None
        }
        Incoming::Data(_) | Incoming::Call(_) => None,
    })
}

fn start_sender() {
    if let Err(error) = process::spawn_monitor(&[]) {
        eprintln!("no sender can be started: {}", error.name());
        talk::exit(1); // the host starts another root process
    }
}

fn send_mails() {
    let settings = Settings::read();
    loop {
        match queue::take(MAILS, talk::milliseconds(PATIENCE)) {
            Ok(Some(job)) => send(&job, &settings),
            Ok(None) => {}
            Err(error) => {
                println!("no jobs: {}", error.name());
                sleep(PAUSE);
            }
        }
    }
}

/// Sends one mail. A panic ends the process, and the job is back at once.
fn send(job: &Job, settings: &Settings) {
    let mail = String::from_utf8_lossy(&job.bytes);
    let subject = mail.lines().next().unwrap_or_default();
    let luck = settings.luck(job);
    assert!(luck != Luck::EndsBefore, "killed before it was sent");
    assert!(subject != "poison", "nobody can send this");
    // A real one would ask a mail server here.
    println!("attempt {}: sent {subject:?}", job.attempt);
    // What follows from a job is put before the job is done: the other way round, it might be lost.
    if let Some(receipts) = &settings.receipts
        && queue::put(receipts, &job.bytes).is_err()
    {
        return give_back(job);
    }
    assert!(
        luck != Luck::EndsAfter,
        "killed after it was sent: it is sent twice"
    );
    if let Err(error) = queue::done(job.id) {
        println!("{subject:?} may be sent twice: {}", error.name());
        give_back(job);
    }
}

/// Gives a job back, each time for longer: there are five attempts, and they should not be over
/// before the trouble is.
fn give_back(job: &Job) {
    let pause = PAUSE * job.attempt * job.attempt;
    let _not_ours = queue::give_back(job.id, talk::milliseconds(pause));
}

/// What the environment says (`--env`).
struct Settings {
    /// One attempt in so many ends its process (`ONE_IN`). With 0, none does.
    one_in: u64,
    /// The queue that a receipt of each mail is put into (`RECEIPTS`).
    receipts: Option<String>,
}

/// What happens to the process of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Luck {
    Lives,
    EndsBefore,
    EndsAfter,
}

impl Settings {
    fn read() -> Self {
        let one_in = std::env::var("ONE_IN").ok();
        Self {
            one_in: one_in.and_then(|text| text.parse().ok()).unwrap_or(0),
            receipts: std::env::var("RECEIPTS").ok(),
        }
    }

    /// As if at random, and the same each time: by a hash of the mail (FNV-1a) and its attempt.
    fn luck(&self, job: &Job) -> Luck {
        if self.one_in == 0 || job.attempt > UNLUCKY_ATTEMPTS {
            return Luck::Lives;
        }
        let attempt = job.attempt.to_le_bytes();
        let bytes = job.bytes.iter().chain(&attempt);
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        match ((hash >> 20) % self.one_in, hash >> 63) {
            (0, 0) => Luck::EndsBefore,
            (0, _) => Luck::EndsAfter,
            (_, _) => Luck::Lives,
        }
    }
}
