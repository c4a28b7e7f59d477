//! The part of calls that a mailbox uses. No process of a model makes a call.

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
