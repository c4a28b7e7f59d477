//! Bounds the freed memory that the C library keeps. By default it keeps blocks as large as the
//! largest ever freed, up to 32 MiB, in each of many arenas. So a burst of large answers would stay
//! in memory for ever.

/// Blocks of this size and more are mapped by themselves, and given back when they are freed. It is
/// above the pieces in which files are read and most answers, which are then taken from memory that
/// is there already.
const MAPPED_BYTES: i32 = 1 << 20;

/// The memory that an arena keeps at its end. Enough that the pieces of a few clients come and go
/// without a system call.
const KEPT_BYTES: i32 = 4 << 20;

/// Sets both for the rest of this process's life. C libraries other than glibc neither know nor
/// need them.
pub(crate) fn settle() {
    #[cfg(target_env = "gnu")]
    {
        use std::ffi::c_int;

        /// From `malloc.h`.
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;

        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }

        // SAFETY: `mallopt(3)` has this signature in every glibc, takes two numbers by value, and
        // locks the arena that it changes. What it answers is whether it knew them: if not, nothing
        // has changed.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
            mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
        }
    }
}
