//! *Guests* answer requests. Only this floor knows the kinds of module: how each is planned,
//! started, asked, kept alive and ended.
//!
//! Loading has three steps. [`Compiled`] tells the kind of a module, a [`Plan`] sets its limits,
//! and [`Guests::start`] reserves memory and starts the first processes. The guests of one loading
//! are a *generation*. [`change`] has another generation take its place, while running requests
//! stay with theirs.

mod behind;
mod change;
mod errors;
mod exchange;
mod generation;
mod plan;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::deadline;
use crate::exit::{Crash, Exit};
use crate::feed::What;
use crate::files::RootFolder;
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::pool::{Lease, Pool, Refusal};
use crate::root::{RootSupervisor, Unanswered as RootUnanswered};
use crate::sandbox::{self, Compiled, LoadError};
use crate::settings::{Limits, Settings, Workers};
use crate::shutdown::{Phase, Stopping};
use crate::steps::{Step, Steps};
use crate::table::{Lives, Row, Table};
use crate::text;
use crate::tree::Tree;
use behind::Behind;
pub use errors::{ProbeError, StartError, Unanswered};
use exchange::{Begun, Ended, Outcome};
use generation::{Answering, Generation, Old, Turn};
pub use plan::SettingsError;
pub(crate) use plan::{Division, Plan};

/// The guests of one module, which answer its part of a host's requests.
#[derive(Debug)]
pub(crate) struct Guests {
    /// The name of the pool, if the host has several.
    pub(crate) name: Option<Arc<str>>,
    current: ArcSwap<Generation>,
    old: Mutex<OldGenerations>,
    table: Arc<Table>,
    stopping: Stopping,
    steps: Steps,
    behind: Behind,
    /// Files that guests may have open.
    files: AtomicU64,
    /// How often a module was loaded.
    loaded: AtomicU64,
    /// Whether new requests are refused.
    is_draining: AtomicBool,
}

/// The place of guests in their host.
#[derive(Debug)]
pub(crate) struct Place {
    /// The processes of the whole host.
    pub(crate) lives: Arc<Lives>,
    /// The number of the pool.
    pub(crate) number: u32,
    /// The name of the pool, if the host has several.
    pub(crate) name: Option<Arc<str>>,
    /// Files that guests may have open.
    pub(crate) files: u64,
}

/// The generations whose place was taken.
#[derive(Debug, Default)]
struct OldGenerations {
    generations: Vec<Old>,
    /// The one that comes back if the current one does nothing but fail.
    fallback: Option<Arc<Generation>>,
    /// Whether no further generation may take a place.
    is_closed: bool,
}

/// The most bytes of a request's method and path that whoever traces its process is told.
const TOLD_BYTES: usize = 512;

/// The process that answers a request, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trace {
    /// The process that has the request, or had it last.
    pub(crate) pid: Option<Pid>,
    /// The exit of this process, if the request ended it.
    pub(crate) exit: Option<Exit>,
    /// How long the request waited for the process.
    pub(crate) waited: Duration,
    /// CPU time of the process for this request until the head of its response, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// Memory of the process then, in bytes.
    pub(crate) memory: u64,
    /// The status that the guest chose.
    pub(crate) status: Option<u16>,
    /// The number of the other host that has answered, or had the request last.
    pub(crate) host: Option<u32>,
}

impl OldGenerations {
    fn forget_ended(&mut self) {
        self.generations.retain(|old| !old.is_over());
    }
}

impl Trace {
    /// Notes what the process has used since it had used this CPU time.
    fn has_used(&mut self, row: &Row, before_ms: u64) {
        self.cpu_ms = row.cpu_ms().saturating_sub(before_ms);
        self.memory = row.memory();
    }
}

/// Why a response can't be sent.
#[derive(Debug)]
pub(crate) enum Unsendable {
    /// The response is not HTTP. The guest is at fault.
    Malformed(String),
    /// The host's disk failed. The guest is not at fault.
    Disk,
}

/// Creates the tree of a program, without any process.
///
/// # Errors
/// If there is too little memory, or the module needs something that this host lacks.
pub(crate) fn tree(
    compiled: &Compiled,
    sandbox: sandbox::Settings,
    root_folder: RootFolder,
    table: Arc<Table>,
    time_limit: Duration,
) -> Result<Arc<Tree>, LoadError> {
    let program = compiled.reserve_program(sandbox, root_folder, &table)?;
    Ok(Tree::new(program, table, time_limit))
}

impl Guests {
    /// Plans, reserves the resources of the plan, and starts the processes that are kept alive.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) async fn start(
        compiled: Arc<Compiled>,
        root_folder: RootFolder,
        settings: &Settings,
        place: Place,
        stopping: Stopping,
    ) -> Result<Self, StartError> {
        let Place {
            lives,
            number,
            name,
            files,
        } = place;
        let plan = Plan::new(compiled.kind(), settings, files, true);
        let plan = plan.map_err(StartError::Settings)?;
        let table = Table::new(plan.table, lives, number, name.clone());
        let turn = Turn::First;
        let first = Generation::start(compiled, plan, root_folder, settings, &table, turn).await?;
        let guests = Self {
            name,
            current: ArcSwap::from_pointee(first),
            old: Mutex::default(),
            table,
            stopping,
            steps: settings.steps.clone(),
            behind: Behind::default(),
            files: AtomicU64::new(files),
            loaded: AtomicU64::new(1),
            is_draining: AtomicBool::new(false),
        };
        let first = guests.current.load_full();
        guests.begin_first(&first).await?;
        Ok(guests)
    }

    /// Asks the first generation what it must answer.
    async fn begin_first(&self, first: &Generation) -> Result<(), StartError> {
        if first.settings.probe.is_none() {
            return Ok(());
        }
        let probed = {
            // A program's root process is kept alive only while this goes on.
            let mut probing = pin!(self.probe(first));
            tokio::select! {
                biased;
                probed = &mut probing => probed,
                () = first.maintain() => probing.await,
            }
        };
        probed.inspect_err(|_| self.close())
    }

    /// Has a guest answer the request. `judge` converts the response while the process can still be
    /// ended for it.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn answer<T>(
        &self,
        request: Request,
        trace: &mut Trace,
        judge: impl AsyncFnOnce(Response) -> Result<T, Unsendable>,
    ) -> Result<T, Unanswered> {
        if self.is_draining() {
            self.table.tally().refused();
            return Err(Unanswered::Draining);
        }
        let id = request.id;
        let generation = self.current.load();
        let answer = self.answer_by(&generation, request, trace, judge).await;
        match &answer {
            Ok(_) if trace.status < Some(500) => generation.succeeded(),
            Ok(_) => generation.failed(),
            Err(unanswered) => {
                if unanswered.is_of_the_module() {
                    generation.failed();
                }
                self.table.tally().tell(trace.pid, || What::Failed {
                    request: id,
                    exit: trace.exit,
                    reason: unanswered.text(),
                });
            }
        }
        answer
    }

    /// Has a guest of this generation answer the request.
    async fn answer_by<T>(
        &self,
        generation: &Generation,
        mut request: Request,
        trace: &mut Trace,
        judge: impl AsyncFnOnce(Response) -> Result<T, Unsendable>,
    ) -> Result<T, Unanswered> {
        let kind = generation.kind;
        if !request.body.is_whole() && !kind.takes_streams() {
            request.body = Box::pin(generation.collect(request.body)).await?;
        }
        match &generation.answering {
            Answering::Pool(pool) if kind == Kind::Handler => {
                let time = generation.limits.request_time;
                self.call(pool, time, &request, trace, judge).await
            }
            Answering::Pool(pool) => {
                let time = generation.limits.request_time;
                let exchange = self.exchange(pool, kind, time, request, trace, judge);
                Box::pin(exchange).await
            }
            Answering::Program(root) => {
                let deadline = Instant::now() + generation.limits.request_time;
                Box::pin(self.ask(root, deadline, request, trace, judge)).await
            }
        }
    }

    /// Has a process of the pool answer the request.
    async fn call<T>(
        &self,
        pool: &Arc<Pool>,
        time: Duration,
        request: &Request,
        trace: &mut Trace,
        judge: impl AsyncFnOnce(Response) -> Result<T, Unsendable>,
    ) -> Result<T, Unanswered> {
        let mut lease = self.take(pool, request.is_own(), trace).await?;
        self.tell_began(lease.pid(), request);
        let now = Instant::now();
        let deadline = now + time;
        let before_ms = lease.process().row().cpu_ms();
        let answer = {
            let answering = pin!(async {
                let response = lease.handle(request, now, deadline).await?;
                trace.status = Some(response.status);
                match deadline::by(deadline, pin!(judge(response))).await {
                    Some(judged) => Ok(judged),
                    None => Err(Crash::late()),
                }
            });
            self.unless_ending(answering).await
        };
        trace.has_used(lease.process().row(), before_ms);
        self.tell_answered(trace, request.id, now);
        match answer {
            Some(Ok(Ok(judged))) => {
                let _timing = self.steps.time(Step::HandOver).out_of(Step::Reply);
                pool.release(lease);
                Ok(judged)
            }
            Some(Ok(Err(Unsendable::Malformed(reason)))) => {
                trace.exit = Some(Exit::Response);
                lease.reject(reason);
                Err(Unanswered::BadResponse)
            }
            Some(Ok(Err(Unsendable::Disk))) => {
                pool.release(lease);
                Err(Unanswered::Disk)
            }
            Some(Err(crash)) => {
                let exit = crash.exit;
                trace.exit = Some(exit);
                lease.fail(crash);
                Err(Unanswered::of(exit))
            }
            None => {
                trace.exit = Some(Exit::Stopped);
                lease.end(Exit::Stopped);
                Err(Unanswered::Stopping)
            }
        }
    }

    /// Has a process of a foreign kind answer the request. The process may go on while the client
    /// takes the response.
    async fn exchange<T>(
        &self,
        pool: &Arc<Pool>,
        kind: Kind,
        time: Duration,
        request: Request,
        trace: &mut Trace,
        judge: impl AsyncFnOnce(Response) -> Result<T, Unsendable>,
    ) -> Result<T, Unanswered> {
        let mut lease = self.take(pool, request.is_own(), trace).await?;
        self.tell_began(lease.pid(), &request);
        let id = request.id;
        let now = Instant::now();
        let deadline = now + time;
        let (answering, answer) = oneshot::channel();
        let (rejecting, rejected) = oneshot::channel();
        let stopping = self.stopping.clone();
        let row = Arc::clone(lease.process().row());
        let (served, before_ms) = (Arc::clone(&row), row.cpu_ms());
        let call = Box::pin(async move {
            let outcome = {
                let call = pin!(lease.exchange(request, now, deadline, answering));
                let call = pin!(unless_ending(&stopping, call));
                tokio::select! {
                    biased;
                    Ok(reason) = rejected => Outcome::Rejected(reason),
                    called = call => match called {
                        Some(Ok(())) => Outcome::Done,
                        Some(Err(crash)) => Outcome::Failed(crash),
                        None => Outcome::Stopped,
                    },
                }
            };
            Ended { lease, outcome }
        });
        let begun = Begun {
            row,
            call,
            rejecting,
            answer,
            may_exit: kind == Kind::Http03,
            behind: self.behind.clone(),
        };
        let begun = exchange::begin(pool, begun).await;
        trace.has_used(&served, before_ms);
        if let Ok(response) = &begun {
            trace.status = Some(response.status);
            self.tell_answered(trace, id, now);
        }
        let response = begun.map_err(|exit| {
            trace.exit = Some(exit);
            if exit == Exit::Stopped {
                Unanswered::Stopping
            } else {
                Unanswered::of(exit)
            }
        })?;
        judge(response).await.map_err(|unsendable| {
            if let Unsendable::Malformed(_) = &unsendable {
                trace.exit = Some(Exit::Response);
            }
            Unanswered::from(unsendable)
        })
    }

    /// Tells whoever traces the process.
    fn tell_began(&self, pid: Pid, request: &Request) {
        let tally = self.table.tally();
        if tally.wants_calls(pid) {
            let asked = format_args!("{} {}", request.method, request.path);
            let asked = text::formatted(TOLD_BYTES, asked);
            let request = request.id;
            tally.tell(Some(pid), || What::Began { request, asked });
        }
    }

    /// Tells whoever traces the process.
    fn tell_answered(&self, trace: &Trace, request: u64, begun: Instant) {
        let tally = self.table.tally();
        if let (Some(pid), Some(status)) = (trace.pid, trace.status)
            && tally.wants_calls(pid)
        {
            let time = begun.elapsed();
            tally.tell(Some(pid), || What::Answered {
                request,
                status,
                time,
            });
        }
    }

    /// Takes a process that has nothing to do, or waits for one. For a request of the host's own,
    /// nothing is counted.
    async fn take(
        &self,
        pool: &Arc<Pool>,
        is_own: bool,
        trace: &mut Trace,
    ) -> Result<Lease, Unanswered> {
        let _timing = self.steps.time(Step::HandOver);
        let tally = self.table.tally();
        let lease = match pool.take_idle() {
            Some(lease) => {
                if !is_own {
                    tally.waited(Duration::ZERO);
                }
                lease
            }
            // On the heap: this future includes starting a process, which is large and rarely
            // needed.
            None => {
                let begun = Instant::now();
                let taken = self.unless_ending(Box::pin(pool.take())).await;
                let taken = taken.unwrap_or(Err(Refusal::Closed));
                if taken.is_err() && !is_own {
                    tally.refused();
                }
                let lease = taken?;
                trace.waited = begun.elapsed();
                if !is_own {
                    tally.waited(trace.waited);
                }
                lease
            }
        };
        trace.pid = Some(lease.pid());
        Ok(lease)
    }

    /// Has a program answer the request.
    async fn ask<T>(
        &self,
        root: &RootSupervisor,
        deadline: Instant,
        request: Request,
        trace: &mut Trace,
        judge: impl AsyncFnOnce(Response) -> Result<T, Unsendable>,
    ) -> Result<T, Unanswered> {
        // If the host stops, it ends all processes, and so every request in a program gets an
        // answer.
        let answer = root.ask(request, deadline).await;
        let (pid, response) = answer.map_err(|unanswered| {
            match unanswered {
                RootUnanswered::Ended(pid, exit) => {
                    (trace.pid, trace.exit) = (Some(pid), Some(exit));
                }
                RootUnanswered::Late(holder) => {
                    trace.pid = holder.map(|(pid, _)| pid);
                    trace.exit = holder.and_then(|(_, ends)| ends.then_some(Exit::Deadline));
                }
                RootUnanswered::Full | RootUnanswered::NoRoot(_) | RootUnanswered::Closed => {}
            }
            Unanswered::from(unanswered)
        })?;
        trace.pid = Some(pid);
        trace.status = Some(response.status);
        let judged = deadline::by(deadline, pin!(judge(response))).await;
        match judged.ok_or(Unanswered::Late)? {
            Ok(judged) => Ok(judged),
            Err(Unsendable::Disk) => Err(Unanswered::Disk),
            Err(Unsendable::Malformed(reason)) => {
                trace.exit = Some(Exit::Response);
                tracing::warn!(pid = pid.get(), reason, "bad response");
                self.table.signal(pid, Exit::Response);
                Err(Unanswered::BadResponse)
            }
        }
    }

    /// The outcome of `call`; `None` if the host reaches [`Phase::Ending`] first.
    async fn unless_ending<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        unless_ending(&self.stopping, call).await
    }

    pub(crate) fn kind(&self) -> Kind {
        self.current.load().kind
    }

    /// The kind of the module, and the limits of requests.
    pub(crate) fn kind_and_limits(&self) -> (Kind, Limits) {
        let current = self.current.load();
        (current.kind, current.limits)
    }

    /// How many processes are kept alive, and how many there may be.
    pub(crate) fn workers(&self) -> Workers {
        self.current.load().workers
    }

    /// The most requests that processes have at a time. Those of a program have as many as they
    /// like; so many are as good as none for another host.
    #[cfg(feature = "cluster")]
    pub(crate) fn seats(&self) -> u32 {
        const OF_A_PROGRAM: u32 = 1024;
        match self.kind().is_pooled() {
            true => self.workers().max,
            false => OF_A_PROGRAM,
        }
    }

    /// The processes that are started or have a request. None for a program, which does not say.
    #[cfg(feature = "cluster")]
    pub(crate) fn busy(&self) -> Option<u32> {
        match &self.current.load().answering {
            Answering::Pool(pool) => Some(pool.busy()),
            Answering::Program(_) => None,
        }
    }

    /// Whether a request would have to wait for a process.
    pub(crate) fn is_full(&self) -> bool {
        match &self.current.load().answering {
            Answering::Pool(pool) => pool.is_full(),
            Answering::Program(_) => false,
        }
    }

    /// The number of the loading that answers.
    pub(crate) fn generation(&self) -> u64 {
        self.current.load().number
    }

    /// Whether what answers may yet be replaced by the one before, because it has answered nothing.
    pub(crate) fn is_on_trial(&self) -> bool {
        let old = self.old();
        old.fallback.is_some() && !self.current.load().has_succeeded()
    }

    /// The name of the module.
    pub(crate) fn module(&self) -> String {
        self.current.load().settings.module.to_string()
    }

    /// The first digits of the digest of the module. Nothing for the built-in one.
    #[cfg(feature = "cluster")]
    pub(crate) fn digest(&self) -> String {
        self.current.load().compiled.digest().to_owned()
    }

    /// Whether the processes that answer can't be started at present.
    pub(crate) fn is_failing(&self) -> bool {
        self.current.load().is_failing()
    }

    pub(crate) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The number of the pool.
    pub(crate) fn number(&self) -> u32 {
        self.table.pool()
    }

    /// The number of requests that wait for a process.
    pub(crate) fn in_line(&self) -> usize {
        let old: usize = self.old().generations.iter().map(Old::in_line).sum();
        old + self.current.load().in_line()
    }

    /// Ends the process of this row.
    pub(crate) fn kill(&self, row: &Row) {
        if row.kind == Kind::Program {
            self.table.signal(row.pid, Exit::Killed);
        } else {
            row.kill();
            // A process of an old pool is idle at no time.
            self.current.load().kill_idle(row.pid);
        }
    }

    /// Keeps the wanted number of processes of the current generation alive, until it is closed or
    /// another takes its place.
    pub(crate) fn maintain(&self) -> impl Future<Output = ()> + use<> {
        let generation = self.current.load_full();
        async move { generation.maintain().await }
    }

    /// Waits until no guest goes on behind a response that is complete.
    pub(crate) async fn done(&self) {
        self.behind.none().await;
    }

    /// Refuses new requests. In a pool, idle processes end at once; in a program, all processes do.
    pub(crate) fn close(&self) {
        let mut old = self.old();
        old.is_closed = true;
        old.fallback = None;
        // For the trees of old programs, even if no program is the current one.
        self.table.close();
        old.generations.iter().for_each(Old::close);
        self.current.load().close();
    }

    /// Ends all processes, and waits until they have ended.
    pub(crate) async fn end(&self) {
        self.close();
        let old = std::mem::take(&mut self.old().generations);
        for old in old {
            old.end().await;
        }
        self.current.load_full().end().await;
    }

    fn old(&self) -> MutexGuard<'_, OldGenerations> {
        // No step can panic halfway, so a poisoned lock still guards a whole value.
        self.old.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of `call`; `None` if the host reaches [`Phase::Ending`] first.
async fn unless_ending<T>(stopping: &Stopping, call: impl Future<Output = T>) -> Option<T> {
    let ending = || {
        let mut stopping = stopping.clone();
        async move { stopping.reached(Phase::Ending).await }
    };
    deadline::unless(call, ending).await.ok()
}
