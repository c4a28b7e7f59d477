//! A *foreign* guest was made for another contract than ours: it answers `wasi:http`, or it is a
//! command that is asked by CGI. The host runs it until it has done with its one request. Its
//! response may be there long before, and its body may still be on its way.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use wasmtime::component::Linker;
use wasmtime::{Engine, Store};

use super::failure::Cause;
use super::state::{
    Common, State, WASI_RESOURCES, begin, cause, crash, started, store, unless_over,
};
use super::{Code, command, drafts, engine, http02, http03, state};
use crate::deadline;
use crate::exit::Crash;
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::table::Row;

/// The most bytes that one call of a guest has the host copy. A piece of a body may have as many as
/// [`CHUNK_BYTES`](super::wasi_http::CHUNK_BYTES), and a head comes on top.
const COPIED_BYTES: u64 = 4 << 20;

/// A module of a foreign kind, ready to be instantiated any number of times.
pub(crate) struct PreparedForeign {
    prepared: Prepared,
    engine: Engine,
    common: Arc<Common>,
}

enum Prepared {
    Http02(http02::Prepared),
    Http03(http03::Prepared),
    Command(command::Prepared),
}

/// One living guest of a foreign kind.
pub(crate) struct Foreign {
    store: Store<State>,
    guest: Guest,
    common: Arc<Common>,
    /// Whether the guest keeps so many of the host's resources that a later request may find none
    /// left.
    is_worn: bool,
}

enum Guest {
    Http02(http02::Guest),
    Http03(http03::Guest),
    Command(command::Guest),
}

impl PreparedForeign {
    /// Links a module of this kind. Fails if the module needs a missing import or lacks an export.
    pub(super) fn new(kind: Kind, code: &Code, common: Common) -> wasmtime::Result<Self> {
        let prepared = prepare(kind, code)?;
        Ok(Self {
            prepared,
            engine: code.engine().clone(),
            common: Arc::new(common),
        })
    }

    /// Creates an instance and runs its start code, for at most `time_limit`.
    ///
    /// # Errors
    /// If the start code traps or exceeds a limit.
    pub(crate) async fn instantiate(
        &self,
        row: &Arc<Row>,
        time_limit: Duration,
    ) -> Result<Foreign, Crash> {
        let common = &self.common;
        let mut store = store(&self.engine, State::new(common, row), COPIED_BYTES);
        let deadline = Instant::now() + time_limit;
        let guest = {
            let starting = pin!(self.prepared.instantiate(&mut store));
            deadline::by(deadline, common.clock.run(row, starting)).await
        };
        Ok(Foreign {
            guest: started(&mut store, guest)?,
            store,
            common: Arc::clone(common),
            is_worn: false,
        })
    }
}

/// What components of this kind import.
pub(super) fn linker(kind: Kind, engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = state::linker::<State>(engine)?;
    if engine::is_concurrent(kind) {
        http03::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

/// Links a module of this kind.
fn prepare(kind: Kind, code: &Code) -> wasmtime::Result<Prepared> {
    let mut linker = linker(kind, code.engine())?;
    if let Code::Component(component) = code {
        drafts::add_to_linker(&mut linker, component)?;
    }
    match (kind, code) {
        (Kind::Http02, Code::Component(component)) => {
            http02::prepare(linker, component).map(Prepared::Http02)
        }
        (Kind::Http03, Code::Component(component)) => {
            http03::prepare(&linker, component).map(Prepared::Http03)
        }
        _ => command::prepare(kind, linker, code).map(Prepared::Command),
    }
}

impl Prepared {
    async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Guest> {
        match self {
            Self::Http02(prepared) => prepared.instantiate_async(store).await.map(Guest::Http02),
            Self::Http03(prepared) => prepared.instantiate_async(store).await.map(Guest::Http03),
            Self::Command(prepared) => prepared.instantiate(store).await.map(Guest::Command),
        }
    }
}

impl Foreign {
    /// Runs the guest until it has done with the request. Its response goes through `answer` as
    /// soon as its head is known. The body can be read while this runs, and what is left of it
    /// afterwards.
    ///
    /// # Errors
    /// A [`Crash`]. The instance must be dropped afterwards.
    pub(crate) async fn exchange(
        &mut self,
        request: Request,
        deadline: Instant,
        answer: oneshot::Sender<Response>,
    ) -> Result<(), Crash> {
        let begun = begin(&mut self.store, &request, deadline);
        let served = {
            let serving = pin!(self.guest.serve(&mut self.store, request, answer));
            let serving = pin!(self.common.clock.run(&begun.row, serving));
            unless_over(serving, &begun).await
        };
        self.store.data_mut().served();
        match served {
            Ok(Ok(())) => {
                let state = self.store.data_mut();
                state.limits.forgive_refused_memory();
                self.is_worn = state.table.iter_mut().count() > WASI_RESOURCES / 2;
                Ok(())
            }
            Ok(Err(cause)) | Err(cause) => Err(crash(&mut self.store, cause)),
        }
    }

    /// Whether the guest should serve no more.
    #[must_use]
    pub(crate) fn is_worn(&self) -> bool {
        self.is_worn
    }

    /// Runs a command by itself, without a request, until it ends.
    ///
    /// # Errors
    /// A [`Crash`]. The instance must be dropped afterwards.
    pub(crate) async fn run(&mut self) -> Result<(), Crash> {
        let Guest::Command(command) = &self.guest else {
            return Err(Crash::of_the_host());
        };
        self.store.data_mut().slices.reset();
        self.store.set_epoch_deadline(1);
        let row = Arc::clone(&self.store.data().row);
        let ended = {
            let running = pin!(command.run(&mut self.store));
            self.common.clock.run(&row, running).await
        };
        ended.map_err(|cause| crash(&mut self.store, cause))
    }

    /// The last lines that the guest printed to standard error while it served its last request.
    #[must_use]
    pub(crate) fn last_lines(&self) -> Option<String> {
        self.store.data().last_lines()
    }

    /// Memory and tables in use, in bytes.
    #[must_use]
    pub(crate) fn memory(&self) -> u64 {
        self.store.data().limits.bytes()
    }
}

impl Guest {
    async fn serve(
        &mut self,
        store: &mut Store<State>,
        request: Request,
        answer: oneshot::Sender<Response>,
    ) -> Result<(), Cause> {
        let served = match self {
            Self::Http02(guest) => http02::serve(guest, store, request, answer).await,
            Self::Http03(guest) => http03::serve(guest, store, request, answer).await,
            Self::Command(guest) => return guest.serve(store, request, answer).await,
        };
        served.map_err(|error| cause(store, &error))
    }
}

impl std::fmt::Debug for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Foreign")
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PreparedForeign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedForeign").finish_non_exhaustive()
    }
}
