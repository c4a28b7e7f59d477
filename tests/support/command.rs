//! Commands written as text: core modules for WASI 0.1 that export `_start`. Each step of a command
//! follows the one before it.

use super::{Folder, Server, server};

/// The address of the first bytes to print. Below it are a call's buffers.
const DATA: usize = 0x10_0000;

/// A command, step by step.
#[derive(Clone, Default)]
pub(crate) struct Command {
    data: Vec<u8>,
    code: String,
}

/// A command without a step.
pub(crate) fn command() -> Command {
    Command::default()
}

/// A command that prints this head and nothing else yet.
pub(crate) fn plain() -> Command {
    command().print("Content-Type: text/plain\n\n")
}

impl Command {
    /// Prints to standard output.
    pub(crate) fn print(self, text: impl AsRef<[u8]>) -> Self {
        self.write(1, text.as_ref())
    }

    /// Prints to standard error.
    pub(crate) fn complain(self, text: impl AsRef<[u8]>) -> Self {
        self.write(2, text.as_ref())
    }

    /// Prints a block of this many KiB, this many times.
    pub(crate) fn print_blocks(self, kib: usize, times: usize) -> Self {
        self.code(&format!(
            "(local.set $n (i32.const {times}))
             (loop $again
               (call $write (i32.const 1) (i32.const 0) (i32.const {}))
               (local.set $n (i32.sub (local.get $n) (i32.const 1)))
               (br_if $again (local.get $n)))",
            kib << 10
        ))
    }

    /// Prints standard input, until it ends.
    pub(crate) fn echo(self) -> Self {
        self.code("(call $echo)")
    }

    /// Prints all variables, one in a line.
    pub(crate) fn environ(self) -> Self {
        self.code("(call $environ)")
    }

    /// Prints all arguments, one in a line.
    pub(crate) fn args(self) -> Self {
        self.code("(call $args)")
    }

    pub(crate) fn exit(self, code: i32) -> Self {
        self.code(&format!("(call $exit (i32.const {code}))"))
    }

    pub(crate) fn trap(self) -> Self {
        self.code("unreachable")
    }

    pub(crate) fn spin(self) -> Self {
        self.code("(loop $for-ever (br $for-ever))")
    }

    /// Runs this code. `$n` is a local variable, `$write` prints to a descriptor.
    pub(crate) fn code(mut self, code: &str) -> Self {
        self.code += code;
        self
    }

    fn write(mut self, descriptor: u32, bytes: &[u8]) -> Self {
        let (at, length) = (DATA + self.data.len(), bytes.len());
        self.data.extend_from_slice(bytes);
        self.code(&format!(
            "(call $write (i32.const {descriptor}) (i32.const {at}) (i32.const {length}))"
        ))
    }

    pub(crate) fn text(&self) -> String {
        let data: String = self
            .data
            .iter()
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        include_str!("command.wat")
            .replacen("DATA", &format!("(i32.const {DATA}) \"{data}\""), 1)
            .replacen("CODE", &self.code, 1)
    }

    /// A server with this command, over an empty folder.
    pub(crate) fn serve(&self, flags: &str) -> Server {
        server::component(&self.text(), Folder::new(), flags)
    }
}
