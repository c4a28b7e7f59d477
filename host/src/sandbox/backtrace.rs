//! A *backtrace* in one line: the functions that a guest was in when it trapped, innermost first.
//! The guest chose their names. So the number of names, their length and the size of the line are
//! bounded.

use crate::text;

/// Frames in a line: as many as wasmtime collects.
const MAX_FRAMES: usize = 20;

/// A longer name is cut, and not demangled: demangling would cost more than it tells. Names of
/// Rust's generic functions have some hundred bytes.
const DEMANGLED_BYTES: usize = 2 << 10;

/// The most bytes of all names in a backtrace. A generic type's name may contain itself many times
/// over, so a few mangled bytes can stand for gigabytes.
const NAMES_BYTES: usize = 4 << 10;

/// Functions that Rust runs between a panic and its trap. Every panic has them, so they tell
/// nothing about this one.
const PANIC_MACHINERY: &[&str] = &[
    "__rust_abort",
    "__rust_start_panic",
    "__rustc::",
    "abort",
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::panicking::",
    "core::result::unwrap_failed",
    "panic_abort::",
    "rust_begin_unwind",
    "rust_panic",
    "std::panicking::",
    "std::process::abort",
    "std::sys::backtrace::",
    "std::sys::pal::",
];

/// A function: its name, if the module has one, and its number.
pub(crate) type Frame<'a> = (Option<&'a str>, u32);

/// The names of these functions, in one line.
pub(crate) fn line<'a>(frames: impl IntoIterator<Item = Frame<'a>>) -> String {
    let mut room = NAMES_BYTES;
    let mut names: Vec<(String, u32)> = Vec::new();
    for (name, number) in frames.into_iter().take(MAX_FRAMES) {
        if room == 0 {
            break;
        }
        let name = match name {
            Some(name) => readable(name, room),
            None => format!("<wasm function {number}>"),
        };
        room = room.saturating_sub(name.len());
        match names.last_mut() {
            Some((last, times)) if *last == name => *times += 1,
            Some(_) | None => names.push((name, 1)),
        }
    }
    let machinery = names.iter().take_while(|(name, _)| is_machinery(name));
    // A backtrace of nothing but machinery is shown as it is.
    let shown = match names.split_at(machinery.count()) {
        (all, []) => all,
        (_, rest) => rest,
    };
    let shown: Vec<String> = shown
        .iter()
        .map(|(name, times)| match times {
            1 => name.clone(),
            _ => format!("{name} ({times} times)"),
        })
        .collect();
    shown.join(" < ")
}

/// Demangles the name if it is one of Rust's. Returns at most `bytes` of it.
fn readable(name: &str, bytes: usize) -> String {
    let short = (name.len() <= DEMANGLED_BYTES).then_some(name);
    match short.and_then(|name| rustc_demangle::try_demangle(name).ok()) {
        Some(rust) => text::formatted(bytes, format_args!("{rust:#}")),
        None => text::cut(name, bytes.min(DEMANGLED_BYTES)).to_owned(),
    }
}

/// Whether the name is in [`PANIC_MACHINERY`]. An entry that ends with `::` stands for a whole
/// module.
fn is_machinery(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    let is = |known: &&str| name == *known || known.ends_with("::") && name.starts_with(*known);
    PANIC_MACHINERY.iter().any(is)
}
