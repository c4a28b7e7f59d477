//! The server stub of `process`. Each call becomes plain values and a call of the process table.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::I32Exit;

use super::bindings::program::wasm_pool::worker::process as wit;
use super::contract;
use super::lifted::Bounded;
use super::mailbox::{begin_slice, noting};
use super::program::ProgramState;
use super::rpc::{ByDebug, Rpc};
use crate::pid::Pid;
use crate::table::{Origin, ProcessError};
use crate::tally::Interface;
use crate::text;

/// An error of the outer result ends the process. The guest sees the inner result.
type Answer<T> = Result<Result<T, wit::ErrorCode>>;

/// Links the functions of `process`. The generated functions would end a process if its arguments
/// are too large to be copied. The contract has an error code for this case, so functions that take
/// arguments are written here.
pub(super) fn add_to_linker(linker: &mut Linker<ProgramState>) -> Result<()> {
    type Args = (Bounded<Vec<String>>,);
    wit::add_to_linker::<_, ProgramState>(linker, |data| data)?;
    linker.allow_shadowing(true);
    let mut process = linker.instance(&contract::interface("process"))?;
    process.func_wrap(
        "spawn",
        |store: StoreContextMut<'_, ProgramState>, (args,): Args| {
            Ok((store.data().start_child(args, false),))
        },
    )?;
    process.func_wrap(
        "spawn-monitor",
        |store: StoreContextMut<'_, ProgramState>, (args,): Args| {
            Ok((store.data().start_child(args, true),))
        },
    )?;
    // Another host may have to be asked.
    process.func_wrap_async(
        "monitor",
        |mut store: StoreContextMut<'_, ProgramState>, (pid,): (u64,)| {
            Box::new(async move {
                let set = store.data_mut().watch(pid).await;
                begin_slice(&mut store);
                Ok((set,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl wit::Host for ProgramState {
    fn spawn(&mut self, args: Vec<String>) -> Answer<u64> {
        Ok(self.start_child(Bounded::Within(args), false))
    }

    fn spawn_monitor(&mut self, args: Vec<String>) -> Answer<u64> {
        Ok(self.start_child(Bounded::Within(args), true))
    }

    fn args(&mut self) -> Result<Vec<String>> {
        Ok(self.args.clone())
    }

    fn parent(&mut self) -> Result<Option<u64>> {
        Ok(self.parent.map(Pid::get))
    }

    fn monitor(&mut self, pid: u64) -> Answer<()> {
        let set = on(pid, |pid| self.table.monitor(self.state.pid, pid));
        Ok(set.map_err(wit::ErrorCode::from))
    }

    fn kill(&mut self, pid: u64) -> Answer<()> {
        let rpc = self.rpc("kill", || pid);
        let killed = on(pid, |pid| self.table.kill(self.state.pid, pid));
        Ok(rpc.done(self, killed))
    }

    fn register(&mut self, name: String) -> Answer<()> {
        let rpc = self.rpc("register", || text::quoted(&name));
        let registered = self.table.register(self.state.pid, &name);
        Ok(rpc.done(self, registered))
    }

    fn whereis(&mut self, name: String) -> Result<Option<u64>> {
        let rpc = self.rpc("whereis", || text::quoted(&name));
        let found = self.table.whereis(self.state.pid, &name).map(Pid::get);
        rpc.returns(&self.state.row, 0, || match found {
            Some(pid) => pid.to_string(),
            None => "nobody".to_owned(),
        });
        Ok(found)
    }

    fn exit(&mut self, code: u32) -> Result<()> {
        let rpc = self.rpc("exit", || code);
        rpc.returns(&self.state.row, 0, || "the process ends");
        Err(I32Exit(code.cast_signed()).into())
    }
}

impl ProgramState {
    fn start_child(
        &self,
        args: Bounded<Vec<String>>,
        monitors: bool,
    ) -> std::result::Result<u64, wit::ErrorCode> {
        let args = args.within().ok_or(wit::ErrorCode::TooLarge)?;
        let function = match monitors {
            true => "spawn-monitor",
            false => "spawn",
        };
        let rpc = self.rpc(function, || ByDebug(&args));
        let bytes: usize = args.iter().map(|arg| arg.len() + size_of::<String>()).sum();
        if bytes as u64 > self.settings().max_message {
            return rpc.done(self, Err(ProcessError::TooLarge));
        }
        let pid = self.state.pid;
        let child = Arc::clone(&self.spawner).spawn(Origin::Parent { pid, monitors }, args);
        rpc.done(self, child.map(Pid::get))
    }

    async fn watch(&mut self, pid: u64) -> std::result::Result<(), wit::ErrorCode> {
        let rpc = self.rpc("monitor", || pid);
        let own = self.state.pid;
        let set = match Pid::new(pid) {
            Some(pid) if pid.is_near(own) => self.table.monitor(own, pid),
            Some(pid) => {
                let set = noting(self.table.monitor_afar(own, pid)).await;
                set.account(&mut self.state)
            }
            None => Err(ProcessError::NoProcess),
        };
        rpc.done(self, set)
    }

    pub(super) fn rpc<T: std::fmt::Display>(
        &self,
        function: &'static str,
        arguments: impl FnOnce() -> T,
    ) -> Rpc {
        self.state.rpc(Interface::Process, function, arguments)
    }
}

impl Rpc {
    pub(super) fn done<T: std::fmt::Debug>(
        self,
        data: &ProgramState,
        done: std::result::Result<T, ProcessError>,
    ) -> std::result::Result<T, wit::ErrorCode> {
        self.returns(&data.state.row, 0, || match &done {
            Ok(value) => format!("ok {value:?}"),
            Err(error) => format!("error {}", wit::ErrorCode::from(*error).name()),
        });
        done.map_err(wit::ErrorCode::from)
    }
}

fn on(
    pid: u64,
    call: impl FnOnce(Pid) -> std::result::Result<(), ProcessError>,
) -> std::result::Result<(), ProcessError> {
    Pid::new(pid).ok_or(ProcessError::NoProcess).and_then(call)
}

impl From<ProcessError> for wit::ErrorCode {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::NoProcess => Self::NoProcess,
            ProcessError::NotYours => Self::NotYours,
            ProcessError::TooManyProcesses => Self::TooManyProcesses,
            ProcessError::TooManyChildren => Self::TooManyChildren,
            ProcessError::TooManyMonitors => Self::TooManyMonitors,
            ProcessError::TooLarge => Self::TooLarge,
            ProcessError::NameTaken => Self::NameTaken,
            ProcessError::InvalidName => Self::InvalidName,
            ProcessError::TooManyNames => Self::TooManyNames,
            ProcessError::Unreachable => Self::Unreachable,
        }
    }
}
