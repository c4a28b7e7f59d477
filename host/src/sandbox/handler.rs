//! An *instance* of a module whose world is `handler`: a request is copied in, a response is copied out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::bindings::Handler;
use super::bindings::wasm_pool::worker::{files, http};
use super::clock::{Clock, Slices};
use super::limits::Limits;
use super::output::Output;
use super::{Failure, LoadError, Sandbox};
use crate::files::{OpenFile, Root};
use crate::message::{Body, FileSlice, Request, Response};
use crate::pid::Pid;

/// WASI's resources in one instance, streams and timers mostly. Each costs the host some hundred bytes.
const WASI_RESOURCES: usize = 1_000;

/// What the head of a response may weigh, in bytes, beside its body, while it is copied out.
const HEAD_BYTES: u64 = 256 << 10;

/// The most random bytes that one call returns: the host allocates them.
const RANDOM_BYTES: u64 = 1 << 20;

/// One living guest: its memory, its handles, and the way to call it.
pub struct Instance {
    store: Store<State>,
    guest: Handler,
    clock: Arc<Clock>,
    max_response: u64,
}

/// What the host keeps for one instance.
pub(super) struct State {
    pub(super) root: Root,
    /// Open files, and what WASI keeps.
    pub(super) table: ResourceTable,
    pub(super) open_files: u32,
    pub(super) max_open_files: u32,
    limits: Limits,
    clock: Arc<Clock>,
    slices: Slices,
    pid: Pid,
    /// Made when the guest first calls WASI; most never do.
    wasi: Option<Box<WasiCtx>>,
}

/// Everything that a guest may import: `files` and WASI 0.2.
pub(super) fn linker(engine: &Engine) -> Result<Linker<State>, LoadError> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(LoadError::Host)?;
    files::add_to_linker::<_, State>(&mut linker, |state| state).map_err(LoadError::Host)?;
    Ok(linker)
}

impl Instance {
    pub(super) async fn create(
        sandbox: &Sandbox,
        pid: Pid,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let Sandbox {
            prepared,
            clock,
            root,
            settings,
        } = sandbox;
        let mut table = ResourceTable::new();
        let max_open_files = settings.max_open_files;
        table.set_max_capacity(WASI_RESOURCES.saturating_add(max_open_files as usize));
        let state = State {
            root: root.clone(),
            table,
            open_files: 0,
            max_open_files,
            limits: Limits::new(settings.memory),
            clock: Arc::clone(clock),
            slices: Slices::default(),
            pid,
            wasi: None,
        };
        let mut store = Store::new(prepared.engine(), state);
        store.limiter(|state| &mut state.limits);
        // What the guest makes the host allocate in one call: a list may name the same bytes many times.
        let copied = settings.max_response.saturating_add(HEAD_BYTES);
        store.set_hostcall_fuel(usize::try_from(copied).unwrap_or(usize::MAX));
        // At each tick a running guest steps aside. Deadlines need no more than that: the timer around the
        // call fires meanwhile.
        store.epoch_deadline_callback(|mut store| {
            let State { clock, slices, .. } = store.data_mut();
            Ok(clock.step_aside(slices))
        });
        store.set_epoch_deadline(1);
        let _running = clock.run();
        let starting = prepared.instantiate_async(&mut store);
        match tokio::time::timeout(patience, starting).await {
            Ok(Ok(guest)) => {
                store.data_mut().limits.take_starved(); // it coped
                Ok(Self {
                    store,
                    guest,
                    clock: Arc::clone(clock),
                    max_response: settings.max_response,
                })
            }
            Ok(Err(error)) => {
                let starved = store.data_mut().limits.take_starved();
                Err(Failure::from_error(&error, starved))
            }
            Err(_elapsed) => Err(Failure::Deadline),
        }
    }

    /// Copies the request in, calls the guest, copies the response out.
    ///
    /// # Errors
    /// A [`Failure`], after which the instance must be dropped.
    pub async fn handle(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let running = self.clock.run();
        self.store.data_mut().slices.reset();
        self.store.set_epoch_deadline(1);
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| http::HeaderParam { name, value })
            .collect();
        let lowered = http::Request {
            id: request.id,
            method: &request.method,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &headers,
            body: &request.body,
            client: &request.client,
        };
        // Dropping the call where the timer fires unwinds the guest's stack.
        let call = self.guest.call_handle(&mut self.store, lowered);
        let answer = tokio::time::timeout_at(deadline.into(), call).await;
        drop(running);
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let starved = self.store.data_mut().limits.take_starved();
                return Err(Failure::from_error(&error, starved));
            }
            Err(_elapsed) => return Err(Failure::Deadline),
        };
        self.store.data_mut().limits.take_starved(); // it coped
        self.lift(response)
    }

    /// Memory and tables in use, in bytes.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.store.data().limits.bytes()
    }

    fn lift(&mut self, response: http::Response) -> Result<Response, Failure> {
        let body = match response.body {
            http::Body::Bytes(bytes) => {
                if bytes.len() as u64 > self.max_response {
                    return Err(Failure::Response(format!(
                        "its body has {} bytes, more than the {} of --max-response",
                        bytes.len(),
                        self.max_response
                    )));
                }
                Body::Bytes(bytes)
            }
            http::Body::File(http::FileSlice {
                file,
                offset,
                length,
            }) => {
                let file: OpenFile = (self.store.data_mut().give_away(file)).map_err(|error| {
                    Failure::Response(format!("its file handle is not open: {error}"))
                })?;
                Body::File(FileSlice {
                    file,
                    offset,
                    length,
                })
            }
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
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl http::Host for State {}

impl wasmtime::component::HasData for State {
    type Data<'a> = &'a mut Self;
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let pid = self.pid;
        let ctx = self.wasi.get_or_insert_with(|| Box::new(wasi(pid)));
        WasiCtxView {
            ctx,
            table: &mut self.table,
        }
    }
}

/// Clocks, random numbers, output and exit; no files, no environment, no arguments, no network.
fn wasi(pid: Pid) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Output::new(pid, "stdout"))
        .stderr(Output::new(pid, "stderr"))
        .max_random_size(RANDOM_BYTES)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}
