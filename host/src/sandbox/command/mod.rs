//! A *command* is a program as other hosts run it: it has arguments, variables and standard
//! streams, runs once, and ends. It answers a request by CGI, or runs by itself. It is a component
//! that exports `wasi:cli/run`, or a core module that exports `_start`.

mod cgi;
mod pipe;
mod stdout;

use std::future::poll_fn;

use tokio::sync::oneshot;
use wasmtime::component::Linker;
use wasmtime::{Instance, InstancePre, Module, Store, TypedFunc};
use wasmtime_wasi::p2::bindings::{Command as Command02, CommandPre as Command02Pre};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::p3::bindings::{Command as Command03, CommandPre as Command03Pre};
use wasmtime_wasi::{I32Exit, WasiCtxBuilder, p0, p1};

use super::Code;
use super::failure::Cause;
use super::provider::WASI_01;
use super::state::{State, cause};
use crate::body::Body;
use crate::kind::Kind;
use crate::message::{Request, Response};
use crate::rate::Rate;
use crate::settings::Output;
use crate::text;
use cgi::Variables;
use stdout::Stdout;

/// The name of the function that a core module exports.
const START: &str = "_start";

/// Bytes of variables' names in a line of the log.
const LOGGED_BYTES: usize = 256;

/// A linked command.
pub(super) enum Prepared {
    Component02(Command02Pre<State>),
    Component03(Command03Pre<State>),
    Core(InstancePre<State>),
}

/// One living command.
pub(super) enum Guest {
    Component02(Command02),
    Component03(Command03),
    Core(TypedFunc<(), ()>),
}

/// Links a command of this kind. The linker has what its components import.
pub(super) fn prepare(
    kind: Kind,
    linker: Linker<State>,
    code: &Code,
) -> wasmtime::Result<Prepared> {
    match (kind, code) {
        (Kind::Command02, Code::Component(component)) => {
            let prepared = linker.instantiate_pre(component)?;
            Command02Pre::new(prepared).map(Prepared::Component02)
        }
        (Kind::Command03, Code::Component(component)) => {
            let prepared = linker.instantiate_pre(component)?;
            Command03Pre::new(prepared).map(Prepared::Component03)
        }
        (_, Code::Core(module)) => prepare_core(module),
        (_, Code::Component(_)) => Err(wasmtime::format_err!("it is no command")),
    }
}

fn prepare_core(module: &Module) -> wasmtime::Result<Prepared> {
    let mut linker = wasmtime::Linker::new(module.engine());
    p1::add_to_linker_async(&mut linker, State::wasi_01)?;
    p0::add_to_linker_async(&mut linker, State::wasi_01)?;
    // The one in wasmtime takes codes from 126 up for failures of another kind.
    linker.allow_shadowing(true);
    for name in WASI_01 {
        let exit = |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) };
        linker.func_wrap(name, "proc_exit", exit)?;
    }
    linker.instantiate_pre(module).map(Prepared::Core)
}

impl Prepared {
    /// Creates an instance and runs its start code.
    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Guest> {
        match self {
            Self::Component02(prepared) => {
                let command = prepared.instantiate_async(store).await;
                command.map(Guest::Component02)
            }
            Self::Component03(prepared) => {
                let command = prepared.instantiate_async(store).await;
                command.map(Guest::Component03)
            }
            Self::Core(prepared) => {
                // One read or write of WASI 0.1 may name all of the guest's memory. Programs give
                // up where less is allowed.
                let memory = store.data().settings().memory;
                store.set_hostcall_fuel(usize::try_from(memory).unwrap_or(usize::MAX));
                let instance: Instance = prepared.instantiate_async(&mut *store).await?;
                instance.get_typed_func(store, START).map(Guest::Core)
            }
        }
    }
}

impl Guest {
    /// Runs the command for one request, until it ends. Its response goes through `answer` as soon
    /// as its head is complete. The body can be read while this runs, and what is left of it
    /// afterwards.
    ///
    /// # Errors
    /// If the command fails, exits with another code than 0, or has not printed a response.
    pub(super) async fn serve(
        &self,
        store: &mut Store<State>,
        request: Request,
        answer: oneshot::Sender<Response>,
    ) -> Result<(), Cause> {
        let stdout = Stdout::new(answer, request.method == "HEAD");
        let state = store.data_mut();
        let mut wasi = state.surroundings(None);
        set_variables(&mut wasi, state, &request);
        wasi.stdout(stdout.clone());
        if let Body::Bytes(body) = request.body {
            wasi.stdin(MemoryInputPipe::new(body));
        }
        self.enter(state, &mut wasi);
        match (self.call(store).await, stdout.malformed()) {
            (Ok(()), None) => stdout.end().map_err(|why| Cause::response(&why)),
            (_, Some(malformed)) => Err(Cause::response(&malformed)),
            (Err(error), None) => Err(cause(store, &error)),
        }
    }

    /// Runs the command by itself, until it ends. Its standard streams are the host's, if its
    /// output is.
    ///
    /// # Errors
    /// If the command fails, or exits with another code than 0.
    pub(super) async fn run(&self, store: &mut Store<State>) -> Result<(), Cause> {
        let state = store.data_mut();
        let mut wasi = state.surroundings(None);
        if state.settings().output == Output::Inherit {
            wasi.inherit_stdin();
        }
        self.enter(state, &mut wasi);
        let ended = self.call(store).await;
        ended.map_err(|error| cause(store, &error))
    }

    /// Replaces the surroundings that start code may have seen: at that time, the host knew of no
    /// request yet.
    fn enter(&self, state: &mut State, wasi: &mut WasiCtxBuilder) {
        match self {
            Self::Component02(_) | Self::Component03(_) => state.set_wasi(wasi.build()),
            Self::Core(_) => state.set_wasi_01(wasi.build_p1()),
        }
    }

    /// Runs the command to its end. Exit code 0 is no error.
    async fn call(&self, store: &mut Store<State>) -> wasmtime::Result<()> {
        let ended = match self {
            Self::Core(start) => start.call_async(store, ()).await.map(Ok),
            Self::Component02(command) => command.wasi_cli_run().call_run(store).await,
            Self::Component03(command) => {
                let run = store.run_concurrent(async |accessor| {
                    let ended = command.wasi_cli_run().call_run(accessor).await?;
                    // Tasks may go on after `run` has returned, and print.
                    poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                    wasmtime::Result::Ok(ended)
                });
                run.await.flatten()
            }
        };
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(())) => Err(wasmtime::format_err!(I32Exit(1))),
            Err(error) => match error.downcast_ref() {
                Some(I32Exit(0)) => Ok(()),
                Some(I32Exit(_)) | None => Err(error),
            },
        }
    }
}

/// Sets the variables of a request. A variable that the user has set stays: a client's header field
/// must not replace it, and the user may know better than the host.
fn set_variables(wasi: &mut WasiCtxBuilder, state: &State, request: &Request) {
    static UNFIT: Rate = Rate::new();
    let Variables { mut set, unfit } = cgi::variables(request);
    let users = &state.settings().environment.variables;
    set.retain(|(name, _)| users.iter().all(|(user, _)| user != name));
    wasi.envs(&set);
    if !unfit.is_empty()
        && let Some(skipped) = UNFIT.admit()
    {
        let (variables, request) = (unfit.join(", "), request.id);
        let variables = text::cut(&variables, LOGGED_BYTES);
        let skipped = (skipped > 0).then_some(skipped);
        tracing::warn!(
            request,
            variables,
            skipped,
            "variables are left out: their values are not UTF-8, or have a NUL"
        );
    }
}
