//! The *quantities* that are measured. Each has a stable name in JSON, which ends with its unit,
//! and a name for tables and charts.

pub(crate) const RATE: &str = "requests_per_second";
/// Two messages each.
pub(crate) const ROUND_TRIPS: &str = "round_trips_per_second";
pub(crate) const P50: &str = "latency_p50_ms";
pub(crate) const P99: &str = "latency_p99_ms";
pub(crate) const P99_9: &str = "latency_p99_9_ms";
pub(crate) const CPU: &str = "cpu_seconds_per_1000_requests";
pub(crate) const PEAK: &str = "peak_mib";
pub(crate) const MEMORY: &str = "memory_kib";
pub(crate) const ANSWERS_AGAIN: &str = "answers_again_ms";

/// The steps of a request, and their sum.
pub(crate) const STEPS: [&str; 6] = [
    "receive_us",
    "hand_over_us",
    "run_us",
    "files_us",
    "reply_us",
    "together_us",
];

/// The quantities that are shown, in the order of a table's columns.
pub(crate) const SHOWN: &[(&str, &str)] = &[
    ("receive_us", "receive"),
    ("hand_over_us", "create or hand over"),
    ("run_us", "run"),
    ("files_us", "file RPC"),
    ("reply_us", "reply"),
    ("together_us", "together"),
    (RATE, "requests/s"),
    (ROUND_TRIPS, "round trips/s"),
    (P50, "p50, ms"),
    (P99, "p99, ms"),
    (P99_9, "p99.9, ms"),
    (CPU, "CPU s/1000"),
    (PEAK, "peak MiB"),
    (MEMORY, "one more takes, KiB"),
    ("proportional_kib", "of that its own, KiB"),
    ("page_tables_kib", "page tables beside that, KiB"),
    ("others_lost", "other requests lost"),
    ("connections_lost", "connections lost"),
    (ANSWERS_AGAIN, "answers again after, ms"),
    ("responses", "requests"),
    ("before_mib", "MiB before"),
    ("after_mib", "MiB after"),
    ("ms", "ms"),
    ("us", "µs"),
    ("us_no_bytes", "no bytes, µs"),
    ("us_8_b", "8 B, µs"),
    ("us_1_kib", "1 KiB, µs"),
    ("us_64_kib", "64 KiB, µs"),
];

/// A quantity's name for tables and charts.
pub(crate) fn label(quantity: &str) -> &str {
    let shown = SHOWN.iter().find(|(name, _)| *name == quantity);
    shown.map_or(quantity, |(_, label)| label)
}
