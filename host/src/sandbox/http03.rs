//! A component that exports `wasi:http/handler@0.3`. Its response is what the call returns, and the
//! guest's tasks go on behind it: they write the body, and do what is left to do.

use std::future::poll_fn;

use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Result, Store, format_err};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};
use wasmtime_wasi_http::{Error, WasiHttpView, p3};

use super::failure::NotAnswered;
use super::state::State;
use super::wasi_http::{incoming, outgoing};
use crate::message::{Request, Response};

pub(super) type Prepared = ServicePre<State>;
pub(super) type Guest = Service;

/// Adds WASI 0.3. The linker has all of WASI 0.2 already: components for 0.3 import both.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p3::add_to_linker(linker)?;
    p3::add_to_linker(linker)
}

/// Links the component.
pub(super) fn prepare(linker: &Linker<State>, component: &Component) -> Result<Prepared> {
    linker.instantiate_pre(component).and_then(ServicePre::new)
}

/// Runs the guest for one request, until all of its tasks have ended.
pub(super) async fn serve(
    guest: &Guest,
    store: &mut Store<State>,
    request: Request,
    answer: oneshot::Sender<Response>,
) -> Result<()> {
    let request = incoming(request)?;
    let (request, _failed) = p3::Request::from_http(store.data_mut().http().hooks, request);
    let served = store.run_concurrent(async |accessor| -> Result<()> {
        let response = match guest.handle(accessor, request).await? {
            Ok(response) => response,
            Err(code) => return Err(format_err!(NotAnswered(format!("{code:?}")))),
        };
        let (delivered, told) = oneshot::channel();
        let response = accessor.with(|store| {
            // The guest must not end before its last byte is with the client's connection.
            let told = async { told.await.unwrap_or(Err(Error::ConnectionTerminated)) };
            response.into_http(store, told)
        })?;
        // Fails if nobody waits for the response any more.
        let _left = answer.send(outgoing(response, Some(delivered)));
        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
        Ok(())
    });
    served.await?
}
