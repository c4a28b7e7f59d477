//! The server stub of `process`. Each call becomes plain values and a call of the process table.

use std::sync::Arc;

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::I32Exit;

use super::bindings::program::wasm_pool::worker::process as wit;
use super::contract;
use super::lifted::Bounded;
use super::program::ProgramState;
use crate::pid::Pid;
use crate::table::{Origin, ProcessError};

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
        Ok(on(pid, |pid| self.table.monitor(self.state.pid, pid)))
    }

    fn kill(&mut self, pid: u64) -> Answer<()> {
        Ok(on(pid, |pid| self.table.kill(self.state.pid, pid)))
    }

    fn register(&mut self, name: String) -> Answer<()> {
        let registered = self.table.register(self.state.pid, &name);
        Ok(registered.map_err(wit::ErrorCode::from))
    }

    fn whereis(&mut self, name: String) -> Result<Option<u64>> {
        Ok(self.table.whereis(self.state.pid, &name).map(Pid::get))
    }

    fn exit(&mut self, code: u32) -> Result<()> {
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
        let bytes: usize = args.iter().map(|arg| arg.len() + size_of::<String>()).sum();
        if bytes as u64 > self.settings().max_message {
            return Err(wit::ErrorCode::TooLarge);
        }
        let pid = self.state.pid;
        let child = Arc::clone(&self.spawner).spawn(Origin::Parent { pid, monitors }, args);
        child.map(Pid::get).map_err(wit::ErrorCode::from)
    }
}

fn on(pid: u64, call: impl FnOnce(Pid) -> Result<(), ProcessError>) -> Result<(), wit::ErrorCode> {
    let called = Pid::new(pid).ok_or(ProcessError::NoProcess).and_then(call);
    called.map_err(wit::ErrorCode::from)
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
        }
    }
}
