//! What an instance may have. Memory is counted over all memories of the process together, since that is
//! what the machine has to give.

use wasmtime::ResourceLimiter;

/// Counts, and refuses. A refusal is `memory.grow`'s -1: the guest may cope with it.
#[derive(Debug)]
pub(super) struct Limits {
    max_bytes: u64,
    bytes: u64,
    starved: bool,
}

impl Limits {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            starved: false,
        }
    }

    /// Linear memory in use, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether memory was refused since the last time this was asked.
    pub(super) fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.starved)
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.bytes - (current as u64) + desired as u64;
        let granted = wanted <= self.max_bytes;
        if granted {
            self.bytes = wanted;
        } else {
            self.starved = true;
        }
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        _desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // The pooled tables have a fixed size; growing past it fails by itself.
        Ok(true)
    }
}
