//! *Changing* guests while they serve. Another generation is started, and asked a request if the
//! user named one; only then it takes the place of the current one. For some time after that, the
//! one before is kept: it comes back if the new one does nothing but fail.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::errors::ProbeError;
use super::generation::{Answering, Generation, Turn};
use super::{Guests, Plan, StartError, Trace};
use crate::body::Body;
use crate::deadline;
use crate::files::RootFolder;
use crate::message::{Headers, Request};
use crate::sandbox::Compiled;
use crate::settings::{Settings, Workers};
use crate::shutdown::Phase;

/// For how long a new generation is on trial.
const TRIAL: Duration = Duration::from_secs(10);

/// How often a trial looks whether the processes of the one before have nothing to do any more.
const LOOK: Duration = Duration::from_millis(100);

/// The number of a request that no client has sent.
const PROBE: u64 = 0;

/// A generation that is ready to take the place of another. Dropping it ends its processes.
#[derive(Debug)]
pub(crate) struct Ready {
    generation: Option<Arc<Generation>>,
    files: u64,
}

/// Why a generation takes the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its module was loaded again.
    Loaded,
    /// The same module shall have another number of processes.
    Scaled,
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(generation) = self.generation.take() {
            generation.close();
        }
    }
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
        let start = Generation::start(compiled, plan, root_folder, settings, &self.table, turn);
        let ready = Ready {
            generation: Some(Arc::new(start.await?)),
            files,
        };
        if let Some(generation) = &ready.generation {
            self.probe(generation).await?;
        }
        Ok(ready)
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
        self.prepare(compiled, root_folder, &settings, None).await
    }

    /// Has a generation take the place of the current one. New requests go to it. Requests that
    /// run, and those in line, stay with the old one, which ends with the last of them. Returns
    /// what keeps the new processes alive.
    ///
    /// # Errors
    /// [`StartError::Stopping`].
    pub(crate) fn commit(
        self: &Arc<Self>,
        mut ready: Ready,
        reason: Reason,
    ) -> Result<impl Future<Output = ()> + use<>, StartError> {
        let mut old = self.old();
        let new = match ready.generation.take() {
            Some(new) if !old.is_closed => new,
            Some(new) => {
                new.close();
                return Err(StartError::Stopping);
            }
            None => return Err(StartError::Stopping), // can't happen: only this takes it
        };
        let current = self.current.load_full();
        current.yield_requests();
        new.begin();
        self.current.store(Arc::clone(&new));
        self.files.store(ready.files, Ordering::Relaxed);
        let was_drained = self.is_draining.swap(false, Ordering::Relaxed);
        current.retire();
        old.forget_ended();
        old.generations.push(current.old());
        // A generation that has proved itself is what is worth to come back. One that is drained
        // has no processes to come back with.
        if reason == Reason::Loaded && !was_drained {
            let is_better = old.fallback.is_none() || current.has_succeeded();
            old.fallback = if is_better {
                Some(current)
            } else {
                old.fallback.take()
            };
        }
        let trial = try_out(Arc::downgrade(self), Arc::downgrade(&new));
        // Whoever keeps the processes lets go of them when another generation comes.
        let keeping = async move { new.maintain().await };
        Ok(async move {
            tokio::join!(keeping, trial);
        })
    }

    /// Retires all generations, waits until their requests are answered, and ends them.
    pub(crate) async fn finish(&self) {
        let current = self.current.load_full();
        current.retire();
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = current.finished() => {}
            () = stopping.reached(Phase::Ending) => {}
        }
        self.behind.none().await;
        self.end().await;
    }

    /// Takes no new requests from now on, until another generation comes. Returns once those that
    /// came before have their answers.
    pub(crate) async fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        let current = self.current.load_full();
        current.retire();
        self.old().fallback = None;
        current.finished().await;
        self.behind.none().await;
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
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&**target, None),
        };
        let mut headers = Headers::default();
        headers.push("host", b"localhost");
        headers.push("user-agent", b"wasm-pool-host");
        let here = "127.0.0.1:0";
        let request = Request {
            id: PROBE,
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers,
            body: Body::empty(),
            client: here.into(),
            server: here.into(),
        };
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
        // A guest that goes on is let go on: a body that breaks off is no answer.
        let body = response.body.collect(generation.limits.response);
        match deadline::by(deadline, body).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(refused(ProbeError::Body)),
        }
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
