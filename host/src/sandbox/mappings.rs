//! How many instances the system has memory mappings for. A host that ran out of them could not
//! allocate for itself either.

/// A memory has its image, its heap, and what is beyond it.
const PER_MEMORY: u64 = 3;

/// An instance has a stack, that one's guard page, and one to spare. All tables together are one
/// mapping.
const PER_INSTANCE: u64 = 3;

/// Mappings of the host itself: its code, threads, arenas, and messages so large that each is one.
const OWN: u64 = 4096;

/// How many instances with so many memories can be mapped. Any number where the system doesn't say.
#[must_use]
pub(super) fn most_instances(memories: u32) -> u64 {
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let allowed = allowed.and_then(|count| count.trim().parse::<u64>().ok());
    let each = u64::from(memories) * PER_MEMORY + PER_INSTANCE;
    allowed.map_or(u64::MAX, |allowed| allowed.saturating_sub(OWN) / each)
}
