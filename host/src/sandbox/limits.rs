//! What an instance may have. Memory is counted over all memories and tables of the process together, since
//! that is what the machine has to give.

use wasmtime::ResourceLimiter;

/// What a table takes for each of its elements: a pointer.
pub(super) const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

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

    fn grow(&mut self, current: usize, desired: usize) -> wasmtime::Result<bool> {
        let wanted = self
            .bytes
            .saturating_sub(current as u64)
            .saturating_add(desired as u64);
        let granted = wanted <= self.max_bytes;
        if granted {
            self.bytes = wanted;
        } else {
            self.starved = true;
        }
        Ok(granted)
    }

    /// Memory and tables in use, in bytes.
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
        self.grow(current, desired)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        self.grow(bytes(current), bytes(desired))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved = true;
        Ok(())
    }
}
