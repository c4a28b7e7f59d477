//! The sandbox's side of a *program's* process: an instance whose `run` is called once. It
//! receives, sends, spawns and kills through the stubs in `mailbox`, `process` and `cluster`.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, HasData, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::bindings::program::wasm_pool::worker::http;
use super::bindings::program::{self as bindings, ProgramPre};
use super::failure::Cause;
use super::state::{Common, HEAD_BYTES, HasState, State, cause, crash, store};
use super::{Settings, cluster, drafts, mailbox, process, state};
use crate::exit::{Crash, Exit};
use crate::mailbox::Mailbox;
use crate::pid::Pid;
use crate::router::Router;
use crate::scheduler::Scheduler;
use crate::table::{Origin, ProcessError, Row, Table};

/// A module with the world `program`, ready to be instantiated any number of times.
pub(crate) struct PreparedProgram {
    prepared: ProgramPre<ProgramState>,
    common: Arc<Common>,
}

/// Starts child processes. The floors above implement this.
pub(crate) trait Spawn: Send + Sync {
    /// Starts a process with these arguments.
    ///
    /// # Errors
    /// If a limit on processes is reached.
    fn spawn(self: Arc<Self>, origin: Origin, args: Vec<String>) -> Result<Pid, ProcessError>;
}

/// The inputs of a new process.
pub(crate) struct NewProcess {
    pub(crate) row: Arc<Row>,
    pub parent: Option<Pid>,
    pub mailbox: Arc<Mailbox>,
    /// Arguments from the parent or from the command line.
    pub args: Vec<String>,
    pub table: Arc<Table>,
    pub spawner: Arc<dyn Spawn>,
    /// The longest time for the start code.
    pub time_limit: Duration,
}

/// The host's data of one process.
pub(super) struct ProgramState {
    pub(super) state: State,
    pub(super) parent: Option<Pid>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) args: Vec<String>,
    pub(super) table: Arc<Table>,
    pub(super) spawner: Arc<dyn Spawn>,
    pub(super) router: Router,
}

/// Links a program. Fails if the program needs a missing import or lacks an export.
pub(super) fn prepare(component: &Component) -> Result<ProgramPre<ProgramState>, wasmtime::Error> {
    let mut linker = linker(component.engine())?;
    drafts::add_to_linker(&mut linker, component)?;
    linker.instantiate_pre(component).and_then(ProgramPre::new)
}

/// What programs import.
pub(super) fn linker(engine: &Engine) -> Result<Linker<ProgramState>, wasmtime::Error> {
    let mut linker = state::linker::<ProgramState>(engine)?;
    http::add_to_linker::<_, ProgramState>(&mut linker, |data| data)?;
    mailbox::add_to_linker(&mut linker)?;
    process::add_to_linker(&mut linker)?;
    cluster::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl PreparedProgram {
    pub(super) fn new(prepared: ProgramPre<ProgramState>, common: Common) -> Self {
        Self {
            prepared,
            common: Arc::new(common),
        }
    }

    /// Passes the ticks of the clock to this scheduler, which runs the processes.
    pub(crate) fn set_scheduler(&self, scheduler: &Scheduler) {
        self.common.clock.set_scheduler(scheduler.downgrade());
    }

    /// Runs a process from its first instruction to its last. When this returns or is dropped, the
    /// host has the process's memory and files back.
    ///
    /// # Errors
    /// If the process ended in any way but by returning from `run` or by exit code 0.
    pub(crate) async fn run(&self, new: Box<NewProcess>) -> Result<(), Crash> {
        let Common {
            clock, settings, ..
        } = &*self.common;
        let time_limit = new.time_limit;
        let row = Arc::clone(&new.row);
        let copied = settings.max_message.saturating_add(HEAD_BYTES);
        let mut store = store(
            self.prepared.engine(),
            ProgramState::new(&self.common, *new),
            copied,
        );
        let ran = clock
            .run(&row, async {
                // Boxed to keep the future small: start-up state isn't needed while the process
                // waits.
                let guest = Box::pin(self.start(&mut store, time_limit)).await?;
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
        store: &mut Store<ProgramState>,
        time_limit: Duration,
    ) -> Result<bindings::Program, Cause> {
        let starting = self.prepared.instantiate_async(&mut *store);
        let guest = match tokio::time::timeout(time_limit, starting).await {
            Ok(Ok(guest)) => guest,
            Ok(Err(error)) => return Err(cause(store, &error).at_start()),
            Err(_elapsed) => return Err(Cause::deadline()),
        };
        store.data_mut().state.limits.forgive_refused_memory();
        Ok(guest)
    }
}

impl ProgramState {
    fn new(common: &Arc<Common>, new: NewProcess) -> Self {
        let NewProcess {
            row,
            parent,
            mailbox,
            args,
            table,
            spawner,
            time_limit: _,
        } = new;
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

impl HasState for ProgramState {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }
}

impl HasData for ProgramState {
    type Data<'a> = &'a mut Self;
}

impl WasiView for ProgramState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.state.wasi(Some(&self.args))
    }
}

impl WasiHttpView for ProgramState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.state.http()
    }
}

impl http::Host for ProgramState {}

impl std::fmt::Debug for PreparedProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedProgram").finish_non_exhaustive()
    }
}
