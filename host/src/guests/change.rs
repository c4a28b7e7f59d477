//! *Changing* guests while they serve. Another generation is started, and asked a request if the
//! user named one; only then it takes the place of the current one. For some time after that, the
//! one before is kept: it comes back if the new one does nothing but fail.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::errors::ProbeError;
use super::generation::{Answering, Generation, Turn};
use super::{Guests, Plan, StartError, Trace, Unanswered};
use crate::body::Body;
use crate::deadline;
use crate::files::RootFolder;
use crate::message::{Headers, Request, Scheme};
use crate::sandbox::Compiled;
use crate::settings::{Settings, Workers};
use crate::shutdown::Phase;
use crate::table;

/// For how long a new generation is on trial.
const TRIAL: Duration = Duration::from_secs(10);

/// How often somebody looks who waits for requests of others to end.
const LOOK: Duration = Duration::from_millis(100);

/// What a guest is asked whose user has named nothing else.
const ANYTHING: &str = "/";

/// A generation that is ready to take the place of another. Dropping it ends its processes.
#[derive(Debug)]
pub(crate) struct Ready {
    generation: Arc<Generation>,
    files: u64,
    table: table::Settings,
    reason: Reason,
}

/// Why a generation takes the place of another.
#[derive(Debug)]
enum Reason {
    /// Its module was loaded again.
    Loaded,
    /// The module of this generation shall have another number of processes.
    Scaled(Weak<Generation>),
}

impl Guests {
    /// Loads another generation, which does not answer yet. Its guests may have `files` open;
    /// `None` is as many as those of the current one.
    ///
    /// # Errors
    /// [`StartError`]. Nothing has changed then.
    pub(crate) async fn prepare(
        &self,
        compiled: Arc<Compiled>,
        root_folder: RootFolder,
        settings: &Settings,
        files: Option<u64>,
    ) -> Result<Ready, StartError> {
        let files = files.unwrap_or_else(|| self.files.load(Ordering::Relaxed));
        let plan = Plan::new(compiled.kind(), settings, files, true);
        let plan = plan.map_err(StartError::Settings)?;
        let turn = Turn::Later(self.loaded.fetch_add(1, Ordering::Relaxed) + 1);
        let table = plan.table;
        let start = Generation::start(compiled, plan, root_folder, settings, &self.table, turn);
        let generation = Arc::new(start.await?);
        self.probe(&generation).await?;
        Ok(Ready {
            generation,
            files,
            table,
            reason: Reason::Loaded,
        })
    }

    /// As [`Guests::prepare`], with the current module and another number of processes.
    ///
    /// # Errors
    /// [`StartError`]. Nothing has changed then.
    pub(crate) async fn prepare_scaled(&self, workers: Workers) -> Result<Ready, StartError> {
        let current = self.current.load_full();
        let mut settings = current.settings.clone();
        settings.pool.workers = Some(workers);
        settings.check().map_err(StartError::Settings)?;
        let root_folder = RootFolder::open(&settings.root).map_err(|error| StartError::Root {
            path: settings.root.clone(),
            error,
        })?;
        let compiled = Arc::clone(&current.compiled);
        let ready = self.prepare(compiled, root_folder, &settings, None).await?;
        Ok(Ready {
            reason: Reason::Scaled(Arc::downgrade(&current)),
            ..ready
        })
    }

    /// Has a generation take the place of the current one. New requests go to it. Requests that
    /// run, and those in line, stay with the old one, which ends with the last of them. Returns
    /// what keeps the new processes alive.
    ///
    /// # Errors
    /// [`StartError::Stopping`], and [`StartError::Superseded`] if what was scaled answers no more.
    pub(crate) fn commit(
        self: &Arc<Self>,
        ready: Ready,
    ) -> Result<impl Future<Output = ()> + use<>, StartError> {
        let Ready {
            generation: new,
            files,
            table,
            reason,
        } = ready;
        let mut old = self.old();
        if old.is_closed {
            return Err(StartError::Stopping);
        }
        let current = self.current.load_full();
        match &reason {
            Reason::Scaled(scaled) if Weak::as_ptr(scaled) != Arc::as_ptr(&current) => {
                return Err(StartError::Superseded);
            }
            Reason::Scaled(_) | Reason::Loaded => {}
        }
        current.yield_requests();
        new.begin();
        self.table.set_limits(table);
        self.current.store(Arc::clone(&new));
        self.files.store(files, Ordering::Relaxed);
        let was_drained = self.is_draining.swap(false, Ordering::Relaxed);
        current.retire();
        old.forget_ended();
        old.generations.push(current.old());
        match reason {
            // What was on trial goes on to be.
            Reason::Scaled(_) if current.has_succeeded() => {
                new.succeeded();
                old.fallback = None;
            }
            Reason::Scaled(_) => {}
            // One that is drained has no processes to come back with.
            Reason::Loaded if was_drained => {}
            // One that has proved itself is worth coming back.
            Reason::Loaded if old.fallback.is_none() || current.has_succeeded() => {
                old.fallback = Some(current);
            }
            Reason::Loaded => {}
        }
        let trial = try_out(Arc::downgrade(self), Arc::downgrade(&new));
        // Whoever keeps the processes lets go of them when another generation comes.
        let keeping = async move { new.maintain().await };
        Ok(async move {
            tokio::join!(keeping, trial);
        })
    }

    /// Keeps no idle process from now on, waits until all others have let go of these guests, and
    /// ends them. No request may be led here any more.
    pub(crate) async fn finish(self: Arc<Self>) {
        self.current.load_full().retire();
        let mut stopping = self.stopping.clone();
        let served = async {
            // A request that was found in this pool may not have reached it yet.
            while Arc::strong_count(&self) > 1 {
                tokio::time::sleep(LOOK).await;
            }
            self.current.load_full().finished().await;
            self.behind.none().await;
        };
        tokio::select! {
            () = served => {}
            () = stopping.reached(Phase::Ending) => {}
        }
        self.end().await;
    }

    /// Takes no new requests from now on, until another generation comes. Waits until those that
    /// came before have their answers. Returns whether it takes none still.
    pub(crate) async fn drain(&self) -> bool {
        let current = {
            // Under the lock, so that this is not the generation that comes.
            let mut old = self.old();
            self.is_draining.store(true, Ordering::Relaxed);
            old.fallback = None;
            let current = self.current.load_full();
            current.retire();
            current
        };
        let served = async {
            current.finished().await;
            self.behind.none().await;
        };
        let undone = async {
            while self.is_draining() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = served => self.is_draining(),
            () = undone => false,
        }
    }

    /// Whether new requests are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Asks a generation the request that the user named, if one is named.
    ///
    /// # Errors
    /// [`StartError::Probe`].
    pub(super) async fn probe(&self, generation: &Generation) -> Result<(), StartError> {
        let Some(target) = &generation.settings.probe else {
            return Ok(());
        };
        let refused = |error| StartError::Probe(target.clone(), error);
        let request = own(target);
        let time = generation.limits.request_time;
        let deadline = Instant::now() + time;
        let whole = async |response| Ok(response);
        let response = match &generation.answering {
            Answering::Pool(_) => {
                let mut trace = Trace::default();
                self.answer_by(generation, request, &mut trace, whole).await
            }
            Answering::Program(root) => {
                let answer = root.probe(request, deadline).await;
                answer.map(|(_, response)| response).map_err(Into::into)
            }
        };
        let response = response.map_err(|error| refused(ProbeError::Unanswered(error)))?;
        if !(200..400).contains(&response.status) {
            return Err(refused(ProbeError::Status(response.status)));
        }
        // A body that breaks off is no answer.
        let body = response.body.collect(generation.limits.response);
        match deadline::by(deadline, body).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(refused(ProbeError::Body)),
        }
    }

    /// Asks the guests that answer at present what the user named as their probe, or anything.
    /// Returns the status as soon as it is there. Whether it is a good one decides nothing: neither
    /// the trial of a generation nor a sum of requests counts it.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(crate) async fn ask_own(&self) -> Result<u16, Unanswered> {
        if self.is_draining() {
            return Err(Unanswered::Draining);
        }
        let generation = self.current.load_full();
        let target = generation.settings.probe.as_deref().unwrap_or(ANYTHING);
        let mut trace = Trace::default();
        let whole = async |response| Ok(response);
        let answering = self.answer_by(&generation, own(target), &mut trace, whole);
        let response = answering.await?;
        match response.body {
            // Its guest goes on until it is done: if the body were dropped, that would end it.
            Body::Stream(stream) => stream.discard(),
            Body::Bytes(_) | Body::File(_) => {}
        }
        Ok(response.status)
    }
}

/// A request of the host's own for this target.
fn own(target: &str) -> Request {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut headers = Headers::default();
    headers.push("host", b"localhost");
    headers.push("user-agent", b"wasm-pool-host");
    let here = "127.0.0.1:0";
    Request {
        id: Request::OWN,
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query.map(str::to_owned),
        headers,
        body: Body::empty(),
        client: here.into(),
        server: here.into(),
        scheme: Scheme::Http,
    }
}

/// Waits until the trial of this generation is over. If all of its requests have failed, the one
/// before comes back, and is kept alive.
async fn try_out(guests: Weak<Guests>, new: Weak<Generation>) {
    let end = Instant::now() + TRIAL;
    let Some(mut stopping) = guests.upgrade().map(|guests| guests.stopping.clone()) else {
        return;
    };
    while Instant::now() < end {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stopping.reached(Phase::Draining) => return,
        }
        match guests.upgrade() {
            Some(guests) => guests.rest_fallback(),
            None => return,
        }
    }
    let Some(before) = guests.upgrade().and_then(|guests| guests.decide(&new)) else {
        return;
    };
    before.maintain().await;
}

impl Guests {
    /// Ends the processes of the generation that may come back, once it has no requests.
    fn rest_fallback(&self) {
        let old = self.old();
        if let Some(fallback) = &old.fallback
            && Arc::strong_count(fallback) == 1
        {
            fallback.rest();
        }
    }

    /// Ends the trial of this generation. Returns the one that has come back, if one has.
    fn decide(&self, new: &Weak<Generation>) -> Option<Arc<Generation>> {
        let mut old = self.old();
        let new = new.upgrade()?;
        if old.is_closed || !Arc::ptr_eq(&self.current.load_full(), &new) {
            return None; // what has taken its place since has a trial of its own
        }
        let before = old.fallback.take()?;
        let failures = new.failures().filter(|_| !new.has_succeeded())?;
        old.generations.retain(|old| !old.is_of(&before));
        new.yield_requests();
        before.revive();
        self.current.store(Arc::clone(&before));
        new.retire();
        old.forget_ended();
        old.generations.push(new.old());
        let (pool, module) = (self.name.as_deref(), &new.settings.module);
        tracing::error!(
            pool,
            %module,
            failures,
            "the new module has done nothing but fail for ten seconds: the one before serves again"
        );
        Some(before)
    }
}
