//! What an instance may have. Memory is counted over all memories and tables of the process
//! together, with what the host holds for it, since that is what the machine has to give.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::table::Row;

/// What a table takes for each of its elements: a pointer.
pub(super) const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

/// Counts, and refuses. A refusal is `memory.grow`'s -1: the guest may cope with it.
#[derive(Debug)]
pub(super) struct Limits {
    max_bytes: u64,
    bytes: u64,
    /// Bytes before the last memory grew: what counts again where the system has no pages for it.
    before: u64,
    starved: bool,
    /// The row of the process, for others to read.
    row: Arc<Row>,
}

impl Limits {
    pub(super) fn new(max_bytes: u64, row: &Arc<Row>) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            before: 0,
            starved: false,
            row: Arc::clone(row),
        }
    }

    /// Counts `desired` bytes in the place of `current`, if the process may have them and
    /// `is_possible`.
    fn grow(&mut self, current: usize, desired: usize, is_possible: bool) -> bool {
        let wanted = self
            .bytes
            .saturating_sub(current as u64)
            .saturating_add(desired as u64);
        let is_affordable = wanted <= self.max_bytes;
        self.starved |= !is_affordable;
        let granted = is_affordable && is_possible;
        if granted {
            self.before = self.bytes;
            self.hold(wanted);
        }
        granted
    }

    /// Counts what the host holds for the process outside of its memories, if it may have that. Who
    /// may not is not starved: the host does without.
    pub(super) fn charge(&mut self, bytes: usize) -> bool {
        let wanted = self.bytes.saturating_add(bytes as u64);
        let granted = wanted <= self.max_bytes;
        if granted {
            self.hold(wanted);
        }
        granted
    }

    /// The host no longer holds so many bytes for the process.
    pub(super) fn discharge(&mut self, bytes: usize) {
        self.hold(self.bytes.saturating_sub(bytes as u64));
    }

    fn hold(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.row.has_memory(bytes);
    }

    /// Memory and tables in use, and what the host holds for the process, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether memory was refused since the last time this was asked.
    pub(super) fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.starved)
    }
}

/// Growth that wasmtime itself would refuse is refused here first, so that it does not count: it
/// asks here before it looks at the maximum.
impl ResourceLimiter for Limits {
    /// A module that is refused by its own maximum is not starved: no other `max_bytes` would help
    /// it.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(self.grow(current, desired, is_possible))
    }

    /// The system has no pages, or no mapping, for what was granted a moment ago.
    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.hold(self.bytes.min(self.before));
        self.starved = true;
        Ok(())
    }

    /// The maximum of a table may be the pool's, so that who is refused by it is starved.
    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = |elements: usize| elements.saturating_mul(TABLE_ELEMENT_BYTES);
        let is_possible = maximum.is_none_or(|maximum| desired <= maximum);
        self.starved |= !is_possible;
        Ok(self.grow(bytes(current), bytes(desired), is_possible))
    }

    /// More elements than there are numbers: nothing was granted.
    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.starved = true;
        Ok(())
    }
}
