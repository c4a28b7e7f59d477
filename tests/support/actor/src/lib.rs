//! An actor: a process that runs its script. So a test has all processes' behaviour in one place.
//!
//! A script is statements, with `;` between them; each has an *outcome*, which is a short text. `{
//! … }` is a script within a script. A text such as `x*1000` stands for that many bytes. Where the
//! contract needs a pid, a script has a name: a name that it has given, a name that its parent
//! knew, or `self`, `parent`, `sender` (of the last message) and `client` (of the last request).
//!
//! A root with arguments runs each argument, and prints the outcome of its last statement. A root
//! without arguments serves HTTP: it runs the body of each request.

mod crowd;
mod mail;
mod misdeeds;
mod script;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wasm_pool_guest::mailbox::{
    self, ClientRequest, Data, ErrorCode, Incoming, Message, Outgoing, Pid,
};
use wasm_pool_guest::{
    Body, FileSlice, Header, Request, Response, Scheme, cluster, files, process, program, queue,
    talk,
};

use crate::script::{bytes, shown, statements, text};

/// Longer than any wait of a test.
const PATIENCE: Duration = Duration::from_secs(60);

program!(actor);

fn actor() {
    let args = process::args();
    match (process::parent(), args.as_slice()) {
        (None, []) => serve(),
        (None, lines) => perform(lines),
        (Some(parent), [script, names @ ..]) => Actor::child(parent, names).run(script),
        (Some(_), []) => panic!("a child has a script"),
    }
}

fn perform(lines: &[String]) {
    let mut root = Actor::default();
    for line in lines {
        root.run(line);
        println!("{}", root.outcome);
    }
}

fn serve() {
    if files::stat("end-at-once").is_ok() {
        return; // without a request
    }
    let mut root = Actor::default();
    loop {
        let message = mailbox::receive();
        if let Incoming::Request(asked) = &message.content {
            let script = String::from_utf8_lossy(&asked.request.body).into_owned();
            root.said.clear();
            root.take(Ok(message));
            root.run(&script);
        } else {
            root.kept.push_back(message); // for a later script that receives it
        }
    }
}

/// One process.
#[derive(Default)]
struct Actor {
    names: Vec<(String, Pid)>,
    /// Messages that arrived between two scripts.
    kept: VecDeque<Message>,
    /// The last messages that were data, to reply to.
    asked: Vec<Message>,
    /// The last request, to be answered or sent on.
    request: Option<Request>,
    /// The outcome of the last statement.
    outcome: String,
    /// The outcomes since the last request.
    said: Vec<String>,
    /// The jobs that it has taken, by their numbers.
    jobs: Vec<u64>,
}

impl Actor {
    fn child(parent: Pid, names: &[String]) -> Self {
        let mut child = Self::default();
        for name in names {
            if let Some((name, pid)) = name.split_once('=') {
                child.name(name, pid.parse().expect("a pid"));
            }
        }
        child.name("parent", parent);
        child
    }

    fn run(&mut self, script: &str) {
        for words in statements(script) {
            self.outcome = self.obey(&words);
            self.said.push(self.outcome.clone());
        }
    }

    #[rustfmt::skip] // one line per statement
    fn obey(&mut self, words: &[&str]) -> String {
        match *words {
            ["send", to, tag, text] => done(mailbox::send(self.pid(to), data(tag, text))),
            ["send-wait", to, tag, text, ms] => done(mailbox::send_wait(self.pid(to), data(tag, text), number(ms))),
            ["forge-reply", to, tag, text] => done(mailbox::send(self.pid(to), Outgoing::Reply(Data { tag: wide(tag), bytes: bytes(text) }))),
            ["send-and-receive", to, tag, text] => { let next = mailbox::send_and_receive(self.pid(to), data(tag, text)); self.take(next) }
            ["reply-and-receive", text] => self.reply_and_receive(text),
            ["respond-and-receive", client, text] => self.respond_and_receive(client, text),
            ["forward-and-receive", to] => { let next = mailbox::send_and_receive(self.pid(to), self.request()); self.take(next) }
            ["receive"] => self.receive(),
            ["receive-from", from] => self.receive_from(from),
            ["receive-timeout", ms] => mailbox::receive_timeout(number(ms)).map_or("nothing".into(), |it| self.take(Ok(it))),
            ["try-receive"] => mailbox::try_receive().map_or("nothing".into(), |it| self.take(Ok(it))),
            ["call", server, text, ms] => {
                let patience = Duration::from_millis(number(ms).into());
                talk::call(self.pid(server), &bytes(text), patience).map_or_else(error, |reply| shown(&reply))
            }
            ["reply", text] => self.reply(0, text),
            ["reply-before", text] => self.reply(1, text),
            ["reply-oldest", text] => done(talk::reply(&self.asked.remove(0), bytes(text))),
            ["tell"] => self.tell(),
            ["respond", client, status, text] => self.respond(client, Response::text(number(status) as u16, text)),
            ["respond-bytes", client, text] => self.respond(client, Response::new(200).with_body(bytes(text))),
            ["respond-fields", client, times, text] => self.respond(client, fields(number(times), text)),
            ["chain", "0", script] => { self.run(script); self.outcome.clone() }
            ["chain", length, script] => self.spawn("next", &format!("chain {} {{ {script} }}; receive", number(length) - 1)),
            ["kills", pid, times] => misdeeds::kills(self.pid(pid), number(times)),
            ["respond-file", client, name] => self.respond(client, file(name)),
            ["answer"] => self.respond("client", Response::text(200, self.said.join("\n"))),
            ["forward", to] => done(mailbox::send(self.pid(to), self.request())),
            ["forward-wait", to, ms] => done(mailbox::send_wait(self.pid(to), self.request(), number(ms))),
            ["invent", client, to] => done(mailbox::send(self.pid(to), self.invented(client))),
            ["spawn", name, script] => self.spawn(name, script),
            ["spawn-monitor", name, script] => made(process::spawn_monitor(&self.args(script)).map(|pid| self.name(name, pid))),
            ["room", times] => { for _ in 0..number(times) { until(|| process::spawn(&["receive".into()]).is_ok()); } "ok".into() }
            ["breed"] => { let _refused = process::spawn(&process::args()); misdeeds::commit("spin") }
            ["insist", script] => loop { self.run(script); self.said.clear(); if self.outcome == "ok" { break "ok".into() } },
            ["watch", name, script] => self.watch(name, script),
            ["monitor", pid] => made(process::monitor(self.pid(pid))),
            ["kill", pid] => made(process::kill(self.pid(pid))),
            ["register", name] => made(process::register(&text(name))),
            ["whereis", name] => process::whereis(&text(name)).map_or("nobody".into(), |pid| self.named(pid)),
            ["gone", name] => until(|| process::whereis(name).is_none()),
            ["there", name] => until(|| process::whereis(name).is_some()),
            ["find", name, registered] => process::whereis(registered).map_or("nobody".into(), |pid| { self.name(name, pid); "ok".into() }),
            ["hosts"] => self.hosts(),
            ["claim", name] => made(cluster::register(&text(name))),
            ["release", name] => made(cluster::release(&text(name))),
            ["holder", name] => cluster::whereis(&text(name)).map_or_else(|error| error.name().into(), |pid| pid.map_or("nobody".into(), |pid| self.named(pid))),
            ["put", queue, job] => job_error(queue::put(&text(queue), &bytes(job))),
            ["take", queue, ms] => self.take_job(queue, number(ms)),
            ["take-many", queue, count] => self.take_jobs(queue, number(count)),
            ["done"] => self.job_done(),
            ["give-back", ms] => self.give_back(number(ms)),
            ["call-it", name, pid] => { self.name(name, wide(pid)); "ok".into() }
            ["number", name] => self.pid(name).to_string(),
            ["root", name, host] => self.root(name, number(host)),
            ["count-to", to, most] => self.count_to(to, wide(most)),
            ["flood", to, times, text] => mail::flood(self.pid(to), number(times), &bytes(text)),
            ["stream", to] => mail::stream(self.pid(to)),
            ["judge"] => mail::judge(),
            ["counted", most] => self.counted(wide(most)),
            ["whose"] => format!("{}'s", process::parent().map_or("nobody".into(), |pid| self.named(pid))),
            ["expect", outcome] => if self.outcome.ends_with(outcome) { "ok".into() } else { self.outcome.clone() },
            ["pid"] => mailbox::self_().to_string(),
            ["same", one, other] => if self.pid(one) == self.pid(other) { "yes".into() } else { "no".into() },
            ["path"] => self.request.as_ref().expect("a request").path.clone(),
            ["open", name] => files::open(name).map(std::mem::forget).map_or_else(|error| error.name().into(), |()| "ok".into()),
            ["open-variant", path, ref variants @ ..] => open_variant(path, variants),
            ["there-is", name] => until(|| files::stat(name).is_ok()),
            ["say", about] => { println!("{about}: {}", self.outcome); "ok".into() }
            ["print", line] => { println!("{}", text(line)); "ok".into() }
            ["complain", line] => { eprintln!("{}", text(line)); "ok".into() }
            ["repeat", times, script] => self.repeat(number(times), script),
            ["forever", script] => loop { self.run(script); self.said.clear(); },
            ["pause", ms] => { std::thread::sleep(Duration::from_millis(number(ms).into())); "ok".into() }
            ["exit", code] => { process::exit(number(code)); "still here".into() }
            ["echo"] => { misdeeds::echo(); "ok".into() }
            ["by-value", to] => misdeeds::by_value(self.pid(to)),
            ["work", ms] => misdeeds::work(Duration::from_millis(number(ms).into())),
            ["crowd", seed, members, messages, kills] => crowd::crowd(wide(seed), number(members) as usize, wide(messages), number(kills) as usize),
            ["crowd-member", seed, messages] => { crowd::member(self.pid("parent"), wide(seed), wide(messages)); "ok".into() }
            [misdeed] => misdeeds::commit(misdeed),
            _ => panic!("no such statement: {words:?}"),
        }
    }

    fn spawn(&mut self, name: &str, script: &str) -> String {
        let args = self.args(script);
        made(process::spawn(&args).map(|pid| self.name(name, pid)))
    }

    /// A child's arguments: its script, and the processes that this process knows.
    fn args(&self, script: &str) -> Vec<String> {
        let names = self.names.iter().map(|(name, pid)| format!("{name}={pid}"));
        std::iter::once(text(script)).chain(names).collect()
    }

    /// Starts a child that is monitored before it begins. A child that has ended can't be
    /// monitored.
    fn watch(&mut self, name: &str, script: &str) -> String {
        self.spawn(name, &format!("receive-from parent; {script}"));
        let monitored = process::monitor(self.pid(name));
        made(monitored.inspect(|()| {
            let _sent = talk::send(self.pid(name), 0, b"go");
        }))
    }

    fn receive(&mut self) -> String {
        let message = self.kept.pop_front().unwrap_or_else(mailbox::receive);
        self.take(Ok(message))
    }

    fn receive_from(&mut self, from: &str) -> String {
        let from = self.pid(from);
        let kept = self.kept.iter().position(|message| message.sender == from);
        let message = kept.and_then(|at| self.kept.remove(at));
        let message = message.map_or_else(|| mailbox::receive_from(from), Ok);
        self.take(message)
    }

    /// Describes a message, or the error that came instead.
    fn take(&mut self, message: Result<Message, ErrorCode>) -> String {
        let message = match message {
            Ok(message) => message,
            Err(code) => return error(code),
        };
        let sender = self.named(message.sender);
        self.name("sender", message.sender);
        match &message.content {
            Incoming::Data(data) | Incoming::Call(data) => {
                let text = match (&message.content, data.tag) {
                    (Incoming::Call(_), _) => format!("{sender} calls: {}", shown(&data.bytes)),
                    (_, 0) => format!("{sender}: {}", shown(&data.bytes)),
                    (_, tag) => format!("{sender} {tag} {}", shown(&data.bytes)),
                };
                self.asked.push(message);
                if self.asked.len() > 100 {
                    self.asked.remove(0);
                }
                text
            }
            Incoming::Request(asked) => {
                self.name("client", asked.client);
                self.request = Some(asked.request.clone());
                format!("{} {}", asked.request.method, asked.request.path)
            }
            Incoming::Down(down) if down.pid != message.sender => "a down of somebody else".into(),
            Incoming::Down(down) => format!("{sender} is down: {}", down.exit),
        }
    }

    /// Replies to the last message, or to an earlier one.
    fn reply(&self, before: usize, text: &str) -> String {
        let asked = self.asked.iter().rev().nth(before);
        done(talk::reply(asked.expect("a message"), bytes(text)))
    }

    fn reply_and_receive(&mut self, text: &str) -> String {
        let asked = self.asked.last().expect("a message");
        let (Incoming::Data(data) | Incoming::Call(data)) = &asked.content else {
            panic!("only these are kept");
        };
        let (tag, bytes) = (data.tag, bytes(text));
        let reply = Outgoing::Reply(Data { tag, bytes });
        let next = mailbox::send_and_receive(asked.sender, reply);
        self.take(next)
    }

    fn respond_and_receive(&mut self, client: &str, text: &str) -> String {
        let response = Response::new(200).with_body(bytes(text));
        let next = mailbox::send_and_receive(self.pid(client), Outgoing::Response(response));
        self.take(next)
    }

    /// Tells the parent the last outcome, even if the parent's mailbox is full.
    fn tell(&self) -> String {
        let (tag, bytes) = (0, self.outcome.clone().into_bytes());
        let content = Outgoing::Data(Data { tag, bytes });
        let patience = talk::milliseconds(PATIENCE);
        done(mailbox::send_wait(self.pid("parent"), content, patience))
    }

    fn respond(&self, client: &str, response: Response) -> String {
        done(talk::respond(self.pid(client), response))
    }

    /// The last request, to be sent on.
    fn request(&self) -> Outgoing {
        Outgoing::Request(ClientRequest {
            client: self.pid("client"),
            request: self.request.clone().expect("a request"),
        })
    }

    /// A request that no client has sent.
    fn invented(&self, client: &str) -> Outgoing {
        Outgoing::Request(ClientRequest {
            client: self.pid(client),
            request: Request {
                id: 1,
                method: "GET".into(),
                path: "/".into(),
                query: None,
                headers: Vec::new(),
                body: Vec::new(),
                client: "127.0.0.1:1".into(),
                scheme: Scheme::Http,
            },
        })
    }

    /// The number of successes, and the first failure.
    fn repeat(&mut self, times: u32, script: &str) -> String {
        for count in 0..times {
            self.run(script);
            if self.outcome != "ok" {
                return format!("{count} ok, then {}", self.outcome);
            }
        }
        format!("{times} ok")
    }

    fn name(&mut self, name: &str, pid: Pid) {
        self.names.retain(|(known, _)| known != name);
        self.names.push((name.into(), pid));
    }

    fn pid(&self, name: &str) -> Pid {
        if name == "self" {
            return mailbox::self_();
        }
        let known = self.names.iter().find(|(known, _)| known == name);
        let pid = known.map(|(_, pid)| *pid).or(name.parse().ok());
        pid.unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    /// Names the root process of another host.
    fn root(&mut self, name: &str, number: u32) -> String {
        let hosts = cluster::hosts();
        let root = hosts.iter().find(|host| host.number == number);
        match root.and_then(|host| host.root) {
            Some(root) => {
                self.name(name, root);
                "ok".into()
            }
            None => "nobody".into(),
        }
    }

    /// Sends messages whose tags are 1, 2, 3, …. The sender waits for some of them, so that no
    /// mailbox is ever full.
    fn count_to(&self, to: &str, most: u64) -> String {
        const AT_ONCE: u64 = 1000;
        let to = self.pid(to);
        for tag in 1..=most {
            let bytes = Vec::new();
            let content = Outgoing::Data(Data { tag, bytes });
            let sent = match tag % AT_ONCE {
                0 => mailbox::send_wait(to, content, 60_000),
                _ => mailbox::send(to, content),
            };
            if let Err(error) = sent {
                return format!("{tag}: {}", error.name());
            }
        }
        "ok".into()
    }

    /// Receives messages, and says whether their tags are 1, 2, 3, ….
    fn counted(&mut self, most: u64) -> String {
        for expected in 1..=most {
            let message = self.kept.pop_front().unwrap_or_else(mailbox::receive);
            let Incoming::Data(data) = &message.content else {
                return format!("{message:?} instead of {expected}");
            };
            if data.tag != expected {
                return format!("{} instead of {expected}", data.tag);
            }
        }
        "in order".into()
    }

    /// The number, the name and the root process of each host.
    fn hosts(&self) -> String {
        let hosts = cluster::hosts();
        assert_eq!(hosts[0].number, cluster::here());
        let shown = hosts.iter().map(|host| {
            let root = host.root.map_or("no root".into(), |pid| self.named(pid));
            format!("{} {} {root}", host.number, host.name)
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// The job, and its attempt.
    fn take_job(&mut self, name: &str, timeout: u32) -> String {
        match queue::take(&text(name), timeout) {
            Ok(Some(job)) => {
                self.jobs.push(job.id);
                format!("{} {}", shown(&job.bytes), job.attempt)
            }
            Ok(None) => "nothing".into(),
            Err(error) => error.name().into(),
        }
    }

    /// The number of jobs that it takes, and why it can't take more.
    fn take_jobs(&mut self, name: &str, count: u32) -> String {
        for taken in 0..count {
            match queue::take(&text(name), 1000) {
                Ok(Some(job)) => self.jobs.push(job.id),
                Ok(None) => return format!("{taken}, then nothing"),
                Err(error) => return format!("{taken}, then {}", error.name()),
            }
        }
        format!("{count}")
    }

    /// The job that was taken last is done. It is still the last one afterwards.
    fn job_done(&self) -> String {
        job_error(queue::done(self.last_job()))
    }

    fn give_back(&self, delay: u32) -> String {
        job_error(queue::give_back(self.last_job(), delay))
    }

    fn last_job(&self) -> u64 {
        self.jobs.last().copied().unwrap_or_default()
    }

    fn named(&self, pid: Pid) -> String {
        let lasting = |name: &str| !["sender", "client"].contains(&name);
        let known = self.names.iter().rev();
        let known = known.filter(|(name, known)| *known == pid && lasting(name));
        match known.map(|(name, _)| name.clone()).next() {
            Some(name) => name,
            None if pid == mailbox::self_() => "self".into(),
            None => "somebody".into(),
        }
    }
}

fn data(tag: &str, text: &str) -> Outgoing {
    Outgoing::Data(Data {
        tag: wide(tag),
        bytes: bytes(text),
    })
}

/// This many fields with this value.
fn fields(times: u32, text: &str) -> Response {
    let field = |_| Header {
        name: "x-field".into(),
        value: bytes(text),
    };
    Response {
        headers: (0..times).map(field).collect(),
        ..Response::new(200)
    }
}

/// The whole file, given away.
fn file(name: &str) -> Response {
    let files::Opened { file, metadata } = files::open(name).expect("a file");
    let slice = FileSlice {
        file,
        offset: 0,
        length: metadata.size,
    };
    Response {
        body: Body::File(slice),
        ..Response::new(200)
    }
}

/// The path that the host has opened, and the file's size in bytes.
fn open_variant(path: &str, variants: &[&str]) -> String {
    let variants: Vec<String> = variants.iter().map(|path| text(path)).collect();
    match files::open_variant(&text(path), &variants) {
        Ok(files::Chosen { opened, which }) => {
            let path = which.map_or(path, |nth| &variants[nth as usize]);
            let size = opened.metadata.size;
            let bytes = opened.file.read(u32::MAX).expect("its bytes");
            assert_eq!(bytes.len() as u64, size);
            format!("{path} {size}")
        }
        Err(error) => error.name().into(),
    }
}

fn done(result: Result<(), ErrorCode>) -> String {
    result.map_or_else(error, |()| "ok".into())
}

fn made(result: Result<(), process::ErrorCode>) -> String {
    result.map_or_else(|error| error.name().into(), |()| "ok".into())
}

fn job_error(result: Result<(), queue::ErrorCode>) -> String {
    result.map_or_else(|error| error.name().into(), |()| "ok".into())
}

fn error(error: ErrorCode) -> String {
    error.name().into()
}

/// Polls a condition, for events without a notification.
fn until(mut condition: impl FnMut() -> bool) -> String {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > PATIENCE {
            return "in vain".into();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    "ok".into()
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn wide(text: &str) -> u64 {
    text.parse().expect("a number")
}
