//! A *handler* is a guest with the world `handler`. The host copies a request in and a response
//! out.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::Component;

use super::bindings::handler::{Handler as Bindings, HandlerPre};
use super::bindings::http::{self, HeaderParam};
use super::drafts;
use super::failure::Cause;
use super::state::{
    Common, HEAD_BYTES, State, begin, cause, crash, linker, started, store, unless_over,
};
use crate::deadline;
use crate::exit::Crash;
use crate::message::{Request, Response};
use crate::steps::Step;
use crate::table::Row;

/// A module with the world `handler`, ready to be instantiated any number of times.
pub(crate) struct PreparedHandler {
    prepared: HandlerPre<State>,
    common: Arc<Common>,
}

/// One living guest: its memory, its handles, and its exported function.
pub(crate) struct Handler {
    store: Store<State>,
    guest: Bindings,
    common: Arc<Common>,
}

/// Links a handler.
pub(super) fn prepare(component: &Component) -> Result<HandlerPre<State>, wasmtime::Error> {
    let mut linker = linker(component.engine())?;
    drafts::add_to_linker(&mut linker, component)?;
    linker.instantiate_pre(component).and_then(HandlerPre::new)
}

impl PreparedHandler {
    /// Links a handler. Fails if the handler needs a missing import or lacks an export.
    pub(super) fn new(component: &Component, common: Common) -> wasmtime::Result<Self> {
        Ok(Self {
            prepared: prepare(component)?,
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
    ) -> Result<Handler, Crash> {
        let common = &self.common;
        let mut store = store(self.prepared.engine(), State::new(common, row), HEAD_BYTES);
        let deadline = Instant::now() + time_limit;
        let guest = {
            let starting = pin!(self.prepared.instantiate_async(&mut store));
            deadline::by(deadline, common.clock.run(row, starting)).await
        };
        Ok(Handler {
            guest: started(&mut store, guest)?,
            store,
            common: Arc::clone(common),
        })
    }
}

impl Handler {
    /// Copies the request in, calls the guest, and copies the response out.
    ///
    /// # Errors
    /// A [`Crash`]. The instance must be dropped afterwards.
    pub(crate) async fn handle(
        &mut self,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, Crash> {
        let answered = self.call(request, deadline).await;
        answered.map_err(|cause| crash(&mut self.store, cause))
    }

    async fn call(&mut self, request: &Request, deadline: Instant) -> Result<Response, Cause> {
        let begun = begin(&mut self.store, request, deadline);
        let headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| HeaderParam { name, value })
            .collect();
        let lowered = http::Request {
            id: request.id,
            method: &request.method,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &headers,
            body: request.body.bytes(),
            client: &request.client,
            scheme: request.scheme.into(),
        };
        let timing = self.common.settings.steps.time(Step::Run);
        let answer = {
            let call = pin!(self.guest.call_handle(&mut self.store, lowered));
            let call = pin!(self.common.clock.run(&begun.row, call));
            unless_over(call, &begun).await
        };
        drop(timing);
        self.store.data_mut().served();
        let response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(cause(&mut self.store, &error)),
            Err(cause) => return Err(cause),
        };
        self.store.data_mut().limits.forgive_refused_memory();
        self.take_response(response)
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

    fn take_response(&mut self, response: http::Response) -> Result<Response, Cause> {
        let max_response = self.common.settings.max_response;
        let response = response.within().ok_or_else(|| {
            Cause::response(&format!("its head has more than {HEAD_BYTES} bytes"))
        })?;
        let response = self
            .store
            .data_mut()
            .take_response(response)
            .map_err(|error| Cause::response(&format!("its file handle is not open: {error}")))?;
        let copied = response.copied();
        if copied > max_response {
            return Err(Cause::response(&format!(
                "its body has {copied} bytes, more than the {max_response} that a response may have"
            )));
        }
        Ok(response)
    }
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler")
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for PreparedHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedHandler").finish_non_exhaustive()
    }
}
