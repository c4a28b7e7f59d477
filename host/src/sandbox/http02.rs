//! A component that exports `wasi:http/incoming-handler@0.2`. Its response is set in the middle of
//! the call, and the body follows while the call goes on.

use std::sync::{Arc, OnceLock};

use tokio::sync::oneshot;
use wasmtime::component::{Component, Linker};
use wasmtime::{Result, Store, format_err};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::failure::NotAnswered;
use super::state::State;
use super::wasi_http::{incoming, outgoing};
use crate::message::{Request, Response};

pub(super) type Prepared = ProxyPre<State>;
pub(super) type Guest = Proxy;

/// Links the component. The linker has all of WASI 0.2 and `wasi:http`.
pub(super) fn prepare(linker: Linker<State>, component: &Component) -> Result<Prepared> {
    linker.instantiate_pre(component).and_then(ProxyPre::new)
}

/// Runs the guest for one request.
pub(super) async fn serve(
    guest: &Guest,
    store: &mut Store<State>,
    request: Request,
    answer: oneshot::Sender<Response>,
) -> Result<()> {
    let refusal = Arc::new(OnceLock::new());
    let (request, outparam) = {
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, incoming(request)?)?;
        let refused = Arc::clone(&refusal);
        let outparam =
            http.new_response_outparam_from_callback(move |response| match response {
                // Fails if nobody waits for the response any more.
                Ok(response) => drop(answer.send(outgoing(response, None))),
                Err(code) => drop(refused.set(format!("{code:?}"))),
            })?;
        (request, outparam)
    };
    let handler = guest.wasi_http_incoming_handler();
    handler.call_handle(&mut *store, request, outparam).await?;
    match refusal.get() {
        None => Ok(()),
        Some(code) => Err(format_err!(NotAnswered(code.clone()))),
    }
}
