//! The memory limit of an instance. It bounds the sum of all memories and tables of the process,
//! and of the memory that the host holds for it: the machine has to provide all of them.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::table::Row;

/// Bytes per element of a table: a pointer.
pub(super) const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts memory, and refuses growth past the limit. The guest sees a refusal as -1 from
/// `memory.grow`, and may survive it.
#[derive(Debug)]
pub(super) struct Limits {
    max_bytes: u64,
    bytes: u64,
    /// `bytes` before the last growth. Restored if the system has no pages for the growth.
    before: u64,
    refused_memory: bool,
    /// The row of the process, which others read.
    row: Arc<Row>,
}

impl Limits {
    pub(super) fn new(max_bytes: u64, row: &Arc<Row>) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            before: 0,
            refused_memory: false,
            row: Arc::clone(row),
        }
    }

    /// Replaces `current` by `desired` bytes in the count, if the limit allows it and `is_possible`
    /// holds. Returns whether it does.
    fn grow(&mut self, current: usize, desired: usize, is_possible: bool) -> bool {
        let wanted = self
            .bytes
            .saturating_sub(current as u64)
            .saturating_add(desired as u64);
        let is_affordable = wanted <= self.max_bytes;
        self.refused_memory |= !is_affordable;
        let granted = is_affordable && is_possible;
        if granted {
            self.before = self.bytes;
            self.hold(wanted);
        }
        granted
    }

    /// Counts memory that the host holds for the process, if the limit allows it. A refusal here
    /// doesn't count as refused memory, because the host copes.
    pub(super) fn charge(&mut self, bytes: usize) -> bool {
        let wanted = self.bytes.saturating_add(bytes as u64);
        let granted = wanted <= self.max_bytes;
        if granted {
            self.hold(wanted);
        }
        granted
    }

    /// Uncounts memory that the host held for the process.
    pub(super) fn discharge(&mut self, bytes: usize) {
        self.hold(self.bytes.saturating_sub(bytes as u64));
    }

    fn hold(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.row.has_memory(bytes);
    }

    /// Bytes in use: memories, tables, and memory that the host holds for the process.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets a refusal of memory: the guest has survived it.
    pub(super) fn forgive_refused_memory(&mut self) {
        self.refused_memory = false;
    }

    /// Whether memory was refused since the last call of this.
    pub(super) fn take_refused_memory(&mut self) -> bool {
        std::mem::take(&mut self.refused_memory)
    }
}

/// wasmtime asks here before it checks a memory's or table's own maximum. Growth past that maximum
/// must be refused here, so that it isn't counted.
impl ResourceLimiter for Limits {
    /// A module that exceeds its own maximum doesn't count as refused memory: a larger limit would
    /// not help.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(self.grow(current, desired, is_possible))
    }

    /// Undoes the last growth: the system has no pages or no mapping for it.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.hold(self.bytes.min(self.before));
        self.refused_memory = true;
        Ok(())
    }

    /// A table's maximum may be the engine's and not the module's, so exceeding it counts as
    /// refused memory.
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        self.refused_memory |= !is_possible;
        Ok(self.grow(bytes(current), bytes(desired), is_possible))
    }

    /// The number of elements overflows, and nothing was counted.
    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused_memory = true;
        Ok(())
    }
}
