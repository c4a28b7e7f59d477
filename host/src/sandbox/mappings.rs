//! The number of instances that the system has memory mappings for. Without this bound the host
//! could use up all mappings, and then it could not allocate for itself.

/// A memory takes three mappings: its image, its heap, and the reserved rest.
const PER_MEMORY: u64 = 3;

/// An instance takes a stack, the stack's guard page, and one to spare. All tables together are one
/// mapping.
const PER_INSTANCE: u64 = 3;

/// Mappings of the host itself: its code, threads, arenas, and large messages.
const OWN: u64 = 4096;

/// The most instances that can be mapped, each with this many memories. `u64::MAX` if the system
/// doesn't tell.
#[must_use]
pub(super) fn most_instances(memories: u32) -> u64 {
    let allowed = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    let allowed = allowed.and_then(|count| count.trim().parse::<u64>().ok());
    let each = u64::from(memories) * PER_MEMORY + PER_INSTANCE;
    allowed.map_or(u64::MAX, |allowed| allowed.saturating_sub(OWN) / each)
}
