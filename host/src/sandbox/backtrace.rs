//! A *backtrace* in one line: the functions that a guest was in when it trapped, innermost first.
//! The guest chose their names, so reading them is bounded in number, in length, and in what comes
//! out.

use crate::text;

/// Frames that are looked at: as many as wasmtime collects.
const MAX_FRAMES: usize = 20;

/// A longer name is shown as it is, and cut: demangling it costs more than it says. Names of Rust's
/// generic functions have some hundred bytes.
const DEMANGLED_BYTES: usize = 2 << 10;

/// What all names of a backtrace come to, at most. The name of a generic type may name itself many
/// times over: a few mangled bytes can stand for gigabytes.
const NAMES_BYTES: usize = 4 << 10;

/// What Rust runs between a panic and the trap. Every panic begins with these, and they say nothing
/// about it.
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

/// A function: its name, if the module has one for it, and its number.
pub(crate) type Frame<'a> = (Option<&'a str>, u32);

/// The names of these functions.
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
    // Without anything else, it is all there is to say.
    let told = match names.split_at(machinery.count()) {
        (all, []) => all,
        (_, rest) => rest,
    };
    let told: Vec<String> = told
        .iter()
        .map(|(name, times)| match times {
            1 => name.clone(),
            _ => format!("{name} ({times} times)"),
        })
        .collect();
    told.join(" < ")
}

/// A name as its author wrote it if it is one of Rust's, and as it is otherwise; in so many bytes
/// at most.
fn readable(name: &str, bytes: usize) -> String {
    let short = (name.len() <= DEMANGLED_BYTES).then_some(name);
    match short.and_then(|name| rustc_demangle::try_demangle(name).ok()) {
        Some(rust) => text::formatted(bytes, format_args!("{rust:#}")),
        None => text::cut(name, bytes.min(DEMANGLED_BYTES)).to_owned(),
    }
}

/// Whether this is one of [`PANIC_MACHINERY`]: a whole name, or all of a module whose name ends
/// with `::`.
fn is_machinery(name: &str) -> bool {
    let name = name.trim_start_matches('<');
    let is = |known: &&str| name == *known || known.ends_with("::") && name.starts_with(*known);
    PANIC_MACHINERY.iter().any(is)
}
