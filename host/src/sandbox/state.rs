//! The host's data of one instance in either world: files, limits, time slices, WASI.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::http;
use super::clock::{Clock, Slices};
use super::core_dump::CoreDumps;
use super::failure::Cause;
use super::limits::Limits;
use super::outbound::{Outbound, Outgoing};
use super::output::{Name, Printer};
use super::queue::Jobs;
use super::rpc::Rpc;
use super::slow::Slow;
use super::{Settings, files, inherit, queue, wasi, wasi_files};
use crate::body::{Body, FileSlice};
use crate::deadline;
use crate::exit::{Crash, Exit};
use crate::files::RootFolder;
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::pid::Pid;
use crate::queues::Queues;
use crate::settings::Output;
use crate::table::Row;
use crate::tally::{Interface, Tally};

/// WASI resources of one instance, mostly streams and timers. Each takes some hundred bytes of the
/// host's memory. A guest in JavaScript frees them when it collects its garbage, and until then has
/// one for each piece of a body: 1,300 for 10 MiB.
pub(super) const WASI_RESOURCES: usize = 10_000;

/// Handles of one instance beside those of files: its own, those that its components lend each
/// other, and WASI's. Each takes some thirty bytes of the host's memory.
const HANDLES: usize = 20_000;

/// Why a guest ends that is told to trap.
const TRAPPED: &str = "it was told to trap";

/// The most bytes that an instance hands over in one call, beside a body: for example the head of a
/// request or a response, or a path. Far more than any of them should need. Copying them takes some
/// ten microseconds.
pub(super) const HEAD_BYTES: u64 = 256 << 10;

/// Data that the instances of one module share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) clock: Clock,
    /// The name of the module: the first argument of a guest.
    pub(super) name: String,
    pub(super) root_folder: RootFolder,
    pub(super) settings: Settings,
    /// Counts the calls of all instances.
    pub(super) tally: Arc<Tally>,
    pub(super) queues: Arc<dyn Queues>,
    /// Open files of all instances together.
    pub(super) open_files: AtomicU32,
    /// Connections that instances have opened.
    pub(super) outgoing: Outgoing,
    pub(super) kind: Kind,
    /// Where the cores of processes go that trap.
    pub(super) core_dumps: Option<Arc<CoreDumps>>,
}

/// The host's data of one instance.
pub(super) struct State {
    common: Arc<Common>,
    /// Open files and WASI's resources.
    pub(super) table: ResourceTable,
    open_files: u32,
    pub(super) limits: Limits,
    pub(super) slices: Slices,
    pub(super) pid: Pid,
    /// The row of the process, which others read.
    pub(super) row: Arc<Row>,
    /// The current or last request; 0 for none.
    request: u64,
    /// The end of the time for the current or last request.
    pub(super) deadline: Option<Instant>,
    /// The current or last request, if slow ones are logged.
    slow: Option<Arc<Slow>>,
    /// Both are created when the guest first calls WASI. Most guests never do.
    wasi: Option<Box<WasiCtx>>,
    /// WASI of a core module.
    wasi_01: Option<Box<WasiP1Ctx>>,
    printer: Option<Arc<Printer>>,
    http: WasiHttpCtx,
    /// Created when the guest first calls `wasi:http`.
    outbound: Option<Box<Outbound>>,
    /// Jobs that the process has. Dropping them gives them back.
    pub(super) jobs: Jobs,
}

/// The data of a store: a [`State`], alone or with a program's additions.
pub(super) trait HasState: Send + WasiView + WasiHttpView + 'static {
    fn state(&mut self) -> &mut State;
}

impl State {
    pub(super) fn new(common: &Arc<Common>, row: &Arc<Row>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(common.resources());
        Self {
            table,
            open_files: 0,
            limits: Limits::new(common.settings.memory, row),
            slices: Slices::default(),
            pid: row.pid,
            row: Arc::clone(row),
            request: 0,
            deadline: None,
            slow: None,
            wasi: None,
            wasi_01: None,
            printer: None,
            http: WasiHttpCtx::new(),
            outbound: None,
            jobs: Jobs::default(),
            common: Arc::clone(common),
        }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.common.settings
    }

    pub(super) fn queues(&self) -> &dyn Queues {
        &*self.common.queues
    }

    pub(super) fn root_folder(&self) -> &RootFolder {
        &self.common.root_folder
    }

    /// The guest calls a function.
    pub(super) fn rpc<T: std::fmt::Display>(
        &self,
        interface: Interface,
        function: &'static str,
        arguments: impl FnOnce() -> T,
    ) -> Rpc {
        let tally = &self.common.tally;
        Rpc::begin(tally, &self.row, interface, function, arguments)
    }

    /// Sets the current request.
    pub(super) fn serves(&mut self, request: u64) {
        self.request = request;
        if let Some(printer) = &self.printer {
            printer.serves(request);
        }
    }

    /// Ends the current request.
    pub(super) fn served(&mut self) {
        self.jobs.give_all_back();
        if let Some(printer) = &self.printer {
            printer.served();
        }
    }

    /// What prints the guest's output, unless the output is the host's own. WASI creates it.
    pub(super) fn printer(&self) -> Option<Arc<Printer>> {
        self.printer.clone()
    }

    /// The last lines that the guest printed to standard error during the current request.
    pub(super) fn last_lines(&self) -> Option<String> {
        self.printer.as_ref()?.last_lines()
    }

    /// Converts a response from the guest, and takes over the file in it.
    ///
    /// # Errors
    /// If the file is not the guest's own.
    pub(super) fn take_response(&mut self, response: http::Answer) -> wasmtime::Result<Response> {
        let body = match response.body {
            http::Body::Bytes(bytes) => Body::from(bytes.0),
            http::Body::File(http::FileSlice {
                file,
                offset,
                length,
            }) => Body::File(FileSlice {
                file: self.remove_file(file)?,
                offset,
                length,
            }),
        };
        let headers = response
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect();
        Ok(Response {
            status: response.status,
            headers,
            body,
        })
    }

    /// Counts one more open file, if the limits allow it. Returns whether they do.
    pub(super) fn admit_file(&mut self) -> bool {
        let admitted =
            self.open_files < self.settings().max_open_files && self.common.admit_files(1);
        self.open_files += u32::from(admitted);
        self.row.has_open_files(self.open_files);
        admitted
    }

    /// Uncounts an open file.
    pub(super) fn release_file(&mut self) {
        self.open_files -= 1;
        self.row.has_open_files(self.open_files);
        self.common.release_files(1);
    }

    /// Counts files that are open during one call, until the guard is dropped. `None` if the limit
    /// is reached.
    pub(super) fn admit_briefly(&self, files: u32) -> Option<BrieflyOpen> {
        let admitted = self.common.admit_files(files);
        admitted.then(|| BrieflyOpen {
            common: Arc::clone(&self.common),
            files,
        })
    }
}

impl Common {
    /// The most resources of one instance.
    fn resources(&self) -> usize {
        WASI_RESOURCES.saturating_add(self.settings.max_open_files as usize)
    }

    fn admit_files(&self, files: u32) -> bool {
        let most = self.settings.max_open_files_in_all;
        let room = |all: u32| all.checked_add(files).filter(|all| *all <= most);
        let order = Ordering::Relaxed;
        self.open_files.fetch_update(order, order, room).is_ok()
    }

    fn release_files(&self, files: u32) {
        self.open_files.fetch_sub(files, Ordering::Relaxed);
    }
}

/// Files that are open during one call. They count towards all instances' limit, and not towards
/// the process's own.
pub(super) struct BrieflyOpen {
    common: Arc<Common>,
    files: u32,
}

impl Drop for BrieflyOpen {
    fn drop(&mut self) {
        self.common.release_files(self.files);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.common.release_files(self.open_files);
    }
}

/// Creates a store for one instance. One call of the guest makes the host copy at most `copied`
/// bytes, beside a body. Without this bound, a list could name the same bytes many times.
pub(super) fn store<T: HasState>(engine: &Engine, mut data: T, copied: u64) -> Store<T> {
    let max_open_files = data.state().settings().max_open_files as usize;
    let mut store = Store::new(engine, data);
    store.set_max_component_handles(HANDLES.saturating_add(max_open_files));
    store.limiter(|data| &mut data.state().limits);
    store.set_hostcall_fuel(usize::try_from(copied).unwrap_or(usize::MAX));
    // A running guest yields at each tick. This also serves deadlines: the timer around the call
    // fires meanwhile.
    store.epoch_deadline_callback(|mut store| {
        if let Some(slow) = store.data_mut().state().slow.clone() {
            slow.look(&store);
        }
        let State {
            common,
            slices,
            row,
            ..
        } = store.data_mut().state();
        if row.is_trapped() {
            return Err(wasmtime::format_err!(TRAPPED));
        }
        Ok(common.clock.yield_at_tick(slices, row))
    });
    store.set_epoch_deadline(1);
    store
}

/// Prepares an instance for a call that serves this request.
pub(super) fn begin(store: &mut Store<State>, request: &Request, deadline: Instant) -> Begun {
    let state = store.data_mut();
    state.slices.reset();
    state.serves(request.id);
    state.deadline = Some(deadline);
    let (pid, slow) = (state.pid, state.settings().slow);
    state.slow = slow.map(|limit| Slow::new(limit, pid, request));
    let begun = Begun {
        row: Arc::clone(&state.row),
        slow: state.slow.clone(),
        deadline,
    };
    store.set_epoch_deadline(1);
    begun
}

/// A request in the hands of a guest, as seen from outside of the store.
pub(super) struct Begun {
    pub(super) row: Arc<Row>,
    slow: Option<Arc<Slow>>,
    deadline: Instant,
}

/// The outcome of a guest's call, unless its time is up or it is killed before. Dropping the call
/// then unwinds the guest's stack.
pub(super) async fn unless_over<T>(
    call: Pin<&mut impl Future<Output = T>>,
    begun: &Begun,
) -> Result<T, Cause> {
    let Begun {
        row,
        slow,
        deadline,
    } = begun;
    let killed = || Cause::new(Exit::Killed, "it was killed");
    if row.is_doomed() {
        return Err(killed());
    }
    let over = || async {
        let watching = async {
            match slow {
                Some(slow) => slow.watch(row).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until((*deadline).into()) => Cause::deadline(),
            () = row.killed() => killed(),
            never = watching => match never {},
        }
    };
    deadline::unless(call, over).await
}

/// The guest whose start code has run; `None` means that it ran out of time.
pub(super) fn started<T: HasState, G>(
    store: &mut Store<T>,
    guest: Option<wasmtime::Result<G>>,
) -> Result<G, Crash> {
    let cause = match guest {
        Some(Ok(guest)) => {
            store.data_mut().state().limits.forgive_refused_memory();
            return Ok(guest);
        }
        Some(Err(error)) => cause(store, &error),
        None => Cause::deadline(),
    };
    Err(crash(store, cause))
}

/// The cause behind wasmtime's error. The core is dumped if it is a trap and dumps are wanted.
pub(super) fn cause<T: HasState>(store: &mut Store<T>, error: &wasmtime::Error) -> Cause {
    let state = store.data_mut().state();
    let refused_memory = state.limits.take_refused_memory();
    if let Some(core_dumps) = state.common.core_dumps.clone() {
        let (pid, common) = (state.pid, Arc::clone(&state.common));
        core_dumps.dump(&mut *store, error, pid, &common.name);
    }
    Cause::of(error, refused_memory)
}

/// A crash, with the last lines that the instance printed.
pub(super) fn crash<T: HasState>(store: &mut Store<T>, cause: Cause) -> Crash {
    cause.with_output(store.data_mut().state().last_lines())
}

/// Links the imports that both worlds have: `files`, `queue`, WASI 0.2 and its HTTP.
pub(super) fn linker<T: HasState>(engine: &Engine) -> wasmtime::Result<Linker<T>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasi_files::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    files::add_to_linker(&mut linker)?;
    queue::add_to_linker(&mut linker)?;
    Ok(linker)
}

impl HasData for State {
    type Data<'a> = &'a mut Self;
}

impl HasState for State {
    fn state(&mut self) -> &mut State {
        self
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi(None)
    }
}

impl State {
    /// WASI, with these arguments or the environment's.
    pub(super) fn wasi(&mut self, args: Option<&[String]>) -> WasiCtxView<'_> {
        let wasi = match self.wasi.take() {
            Some(wasi) => wasi,
            None => Box::new(self.surroundings(args).build()),
        };
        WasiCtxView {
            ctx: self.wasi.insert(wasi),
            table: &mut self.table,
        }
    }

    /// WASI as core modules know it.
    pub(super) fn wasi_01(&mut self) -> &mut WasiP1Ctx {
        let wasi = match self.wasi_01.take() {
            Some(wasi) => wasi,
            None => {
                let wasi = self.surroundings(None).build_p1();
                self.bounded(wasi)
            }
        };
        self.wasi_01.insert(wasi)
    }

    /// Replaces WASI, as a component finds it.
    pub(super) fn set_wasi(&mut self, wasi: WasiCtx) {
        self.wasi = Some(Box::new(wasi));
    }

    /// Replaces WASI, as a core module finds it.
    pub(super) fn set_wasi_01(&mut self, wasi: WasiP1Ctx) {
        self.wasi_01 = Some(self.bounded(wasi));
    }

    /// WASI with these arguments or the environment's, before it is built. What the guest prints
    /// goes where the settings say.
    pub(super) fn surroundings(&mut self, args: Option<&[String]>) -> WasiCtxBuilder {
        let (pid, request) = (self.pid, self.request);
        let mut wasi = wasi::context(&self.common, args);
        match self.common.settings.output {
            Output::Log => {
                let new = || Printer::new(pid, request);
                let printer = self.printer.get_or_insert_with(new);
                let streams = [Name::Stdout, Name::Stderr].map(|name| printer.stream(name));
                wasi::print_to(&mut wasi, streams.into());
            }
            Output::Inherit => {
                if let Some(streams) = inherit::streams() {
                    wasi::print_to(&mut wasi, streams);
                }
            }
        }
        wasi
    }

    /// A context of WASI 0.1 has a table of its own.
    fn bounded(&self, mut wasi: WasiP1Ctx) -> Box<WasiP1Ctx> {
        let resources = self.common.resources();
        wasi.ctx().table.set_max_capacity(resources);
        Box::new(wasi)
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let common = &self.common;
        let outbound = self.outbound.get_or_insert_with(|| {
            Box::new(Outbound::new(Arc::clone(common), Arc::clone(&self.row)))
        });
        outbound.answer_by(self.deadline);
        WasiHttpCtxView {
            hooks: &mut **outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}
