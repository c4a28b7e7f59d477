//! A slot for each thread of a model.

pub(crate) fn slot(slots: usize) -> usize {
    usize::from(shuttle::current::me()) % slots
}
