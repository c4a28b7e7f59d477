//! The counts of calls that a row keeps.

#[derive(Clone, Copy, Debug)]
pub(crate) enum Interface {
    Files,
    Mailbox,
    Process,
    Queue,
    Outbound,
}

impl Interface {
    pub(crate) const ALL: [Self; 5] = [
        Self::Files,
        Self::Mailbox,
        Self::Process,
        Self::Queue,
        Self::Outbound,
    ];
}

#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the row fills them")]
pub(crate) struct Calls {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
}

pub(crate) type CallsByInterface = [Calls; Interface::ALL.len()];
