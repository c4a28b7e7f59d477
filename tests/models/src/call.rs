//! Calls, as far as a mailbox looks at them. No process of a model makes one.

#[derive(Debug, Default)]
pub(crate) struct Slot;

#[derive(Debug, Default)]
pub(crate) struct Callers;

impl Slot {
    pub(crate) fn is_awaited(&self) -> bool {
        false
    }

    pub(crate) fn made(&self) -> u64 {
        0
    }
}
