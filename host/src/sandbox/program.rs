//! The life of a *program's* process, from the sandbox's side: an instance whose `run` is called
//! once, and that receives, sends, spawns and kills through the stubs in `mailbox` and `process`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;
use wasmtime::component::{Component, HasData};
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::bindings::program::wasm_pool::worker::http;
use super::bindings::program::{self as bindings, ProgramPre};
use super::failure::Cause;
use super::mailbox;
use super::state::{Common, HEAD_BYTES, HasState, State, cause, crash, linker, store};
use super::{Settings, process};
use crate::exit::{Crash, Exit};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::router::Router;
use crate::scheduler::Scheduler;
use crate::table::{Origin, ProcessError, Row, Table};

/// A module whose world is `program`, ready to be instantiated any number of times.
pub(crate) struct Programs {
    prepared: ProgramPre<Own>,
    common: Arc<Common>,
}

/// Starts children: what a process asks of the floors above.
pub(crate) trait Spawn: Send + Sync {
    /// Starts a process with these arguments.
    ///
    /// # Errors
    /// Where there are too many already.
    fn spawn(self: Arc<Self>, origin: Origin, args: Vec<String>) -> Result<Pid, ProcessError>;
}

/// What a process is born with.
pub(crate) struct Birth {
    /// Its row in the table.
    pub(crate) row: Arc<Row>,
    /// The process that spawned it.
    pub parent: Option<Pid>,
    /// Where it receives.
    pub mailbox: Arc<Mailbox>,
    /// What its parent, or the command line, told it.
    pub args: Vec<String>,
    /// Everybody else.
    pub table: Arc<Table>,
    /// How it gets children.
    pub spawner: Arc<dyn Spawn>,
    /// How long its start code may take.
    pub patience: Duration,
}

/// What the host keeps for one process.
pub(super) struct Own {
    pub(super) state: State,
    pub(super) parent: Option<Pid>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) args: Vec<String>,
    pub(super) table: Arc<Table>,
    pub(super) spawner: Arc<dyn Spawn>,
    pub(super) router: Router,
}

/// What a program needs that this host does not have, or what it does not export.
pub(super) fn prepare(component: &Component) -> Result<ProgramPre<Own>, wasmtime::Error> {
    let mut linker = linker::<Own>(component.engine())?;
    http::add_to_linker::<_, Own>(&mut linker, |own| own)?;
    mailbox::add_to_linker(&mut linker)?;
    process::add_to_linker(&mut linker)?;
    linker.instantiate_pre(component).and_then(ProgramPre::new)
}

impl Programs {
    pub(super) fn new(prepared: ProgramPre<Own>, common: Common) -> Self {
        Self {
            prepared,
            common: Arc::new(common),
        }
    }

    /// Tells this scheduler, which runs the processes, of the ticks of their clock.
    pub(crate) fn tell(&self, scheduler: &Scheduler) {
        self.common.clock.tell(scheduler.ticked());
    }

    /// A process, from its first instruction to its last. When this returns, or is dropped, its
    /// memory and its files are the host's again.
    ///
    /// # Errors
    /// Where it did not just return.
    pub(crate) async fn run(&self, birth: Box<Birth>) -> Result<(), Crash> {
        let Common {
            clock, settings, ..
        } = &*self.common;
        let patience = birth.patience;
        let row = Arc::clone(&birth.row);
        let copied = settings.max_message.saturating_add(HEAD_BYTES);
        let mut store = store(
            self.prepared.engine(),
            Own::new(&self.common, *birth),
            copied,
        );
        let ran = clock
            .during(&row, async {
                // Boxed, as it is over soon: a process that waits is as small as what it may come
                // back to.
                let guest = Box::pin(self.start(&mut store, patience)).await?;
                let ran = guest.call_run(&mut store).await;
                ran.map_err(|error| cause(&mut store, &error))
            })
            .await;
        match ran {
            Err(cause) if cause.exit == Exit::Code(0) => Ok(()),
            Err(cause) => Err(crash(&mut store, cause)),
            Ok(()) => Ok(()),
        }
    }

    async fn start(
        &self,
        store: &mut Store<Own>,
        patience: Duration,
    ) -> Result<bindings::Program, Cause> {
        let starting = self.prepared.instantiate_async(&mut *store);
        let guest = match tokio::time::timeout(patience, starting).await {
            Ok(Ok(guest)) => guest,
            Ok(Err(error)) => return Err(cause(store, &error).at_start()),
            Err(_elapsed) => return Err(Cause::deadline()),
        };
        store.data_mut().state.limits.take_starved(); // it coped
        Ok(guest)
    }
}

impl Own {
    fn new(common: &Arc<Common>, birth: Birth) -> Self {
        let Birth {
            row,
            parent,
            mailbox,
            args,
            table,
            spawner,
            patience: _,
        } = birth;
        Self {
            state: State::new(common, &row),
            parent,
            router: Router::new(row.pid, Arc::clone(&mailbox), Arc::clone(&table)),
            mailbox,
            args,
            table,
            spawner,
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        self.state.settings()
    }
}

impl HasState for Own {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }
}

impl HasData for Own {
    type Data<'a> = &'a mut Self;
}

impl WasiView for Own {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.state.ctx()
    }
}

impl http::Host for Own {}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").finish_non_exhaustive()
    }
}
