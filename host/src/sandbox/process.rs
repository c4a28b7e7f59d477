//! The server stub of `process`: each call becomes plain values, then a look into the process table.

use std::sync::Arc;

use wasmtime::Result;
use wasmtime_wasi::I32Exit;

use super::bindings::program::wasm_pool::worker::process as wit;
use super::program::Own;
use crate::pid::Pid;
use crate::table::{Origin, ProcessError};

/// The outer result is the process's: an error ends it. The inner one is the guest's to look at.
type Answer<T> = Result<Result<T, wit::ErrorCode>>;

impl wit::Host for Own {
    fn spawn(&mut self, args: Vec<String>) -> Answer<u64> {
        Ok(self.start_child(args, false).map_err(wit::ErrorCode::from))
    }

    fn spawn_monitor(&mut self, args: Vec<String>) -> Answer<u64> {
        Ok(self.start_child(args, true).map_err(wit::ErrorCode::from))
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
        Ok(self.table.whereis(&name).map(Pid::get))
    }

    fn exit(&mut self, code: u32) -> Result<()> {
        Err(I32Exit(code.cast_signed()).into())
    }
}

impl Own {
    fn start_child(
        &self,
        args: Vec<String>,
        monitors: bool,
    ) -> std::result::Result<u64, ProcessError> {
        let bytes: usize = args.iter().map(|arg| arg.len() + size_of::<String>()).sum();
        if bytes as u64 > self.settings().max_message {
            return Err(ProcessError::TooLarge);
        }
        let pid = self.state.pid;
        let child = Arc::clone(&self.nursery).spawn(Origin::Parent { pid, monitors }, args);
        child.map(Pid::get)
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
