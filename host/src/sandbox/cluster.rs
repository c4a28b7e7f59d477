//! The server stub of `cluster`. Some of these calls ask other hosts, so they are linked here as
//! calls that may have to wait.

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::program::wasm_pool::worker::cluster::HostInfo;
use super::bindings::program::wasm_pool::worker::process::ErrorCode;
use super::contract;
use super::mailbox::{begin_slice, noting};
use super::program::ProgramState;
use crate::pid::Pid;
use crate::text;

type Store<'a> = StoreContextMut<'a, ProgramState>;

/// The result of a call, for the guest.
type Outcome<T> = std::result::Result<T, ErrorCode>;

/// Links the functions of `cluster`.
pub(super) fn add_to_linker(linker: &mut Linker<ProgramState>) -> Result<()> {
    let mut cluster = linker.instance(&contract::interface("cluster"))?;
    cluster.func_wrap("here", |store: Store<'_>, (): ()| {
        Ok((store.data().state.pid.host(),))
    })?;
    cluster.func_wrap("hosts", |store: Store<'_>, (): ()| {
        Ok((store.data().hosts(),))
    })?;
    cluster.func_wrap_async("register", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let registered = store.data_mut().claim(&name).await;
            begin_slice(&mut store);
            Ok((registered,))
        })
    })?;
    cluster.func_wrap_async("whereis", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let found = store.data_mut().find(&name).await;
            begin_slice(&mut store);
            Ok((found,))
        })
    })?;
    cluster.func_wrap_async("release", |mut store: Store<'_>, (name,): (String,)| {
        Box::new(async move {
            let released = store.data_mut().release(&name).await;
            begin_slice(&mut store);
            Ok((released,))
        })
    })
}

impl ProgramState {
    fn hosts(&self) -> Vec<HostInfo> {
        let rpc = self.rpc("hosts", || "");
        let hosts = self.table.hosts();
        rpc.returns(&self.state.row, 0, || format!("{} hosts", hosts.len()));
        let hosts = hosts.into_iter().map(|host| HostInfo {
            number: host.number,
            name: host.name,
            root: host.root.map(Pid::get),
        });
        hosts.collect()
    }

    async fn claim(&mut self, name: &str) -> Outcome<()> {
        let rpc = self.rpc("cluster.register", || text::quoted(name));
        let claimed = noting(self.table.claim(self.state.pid, name)).await;
        let claimed = claimed.account(&mut self.state);
        rpc.done(self, claimed)
    }

    async fn find(&mut self, name: &str) -> Outcome<Option<u64>> {
        let rpc = self.rpc("cluster.whereis", || text::quoted(name));
        let found = noting(self.table.find(name)).await;
        let found = found.account(&mut self.state);
        rpc.done(self, found.map(|found| found.map(Pid::get)))
    }

    async fn release(&mut self, name: &str) -> Outcome<()> {
        let rpc = self.rpc("cluster.release", || text::quoted(name));
        let released = noting(self.table.release(self.state.pid, name)).await;
        let released = released.account(&mut self.state);
        rpc.done(self, released)
    }
}
