//! The *source* of a module: a file, binary or text. A file that isn't WebAssembly is named for
//! what it looks like, because the compiler could only say what it isn't.

use std::fs::{File, FileType};
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LoadError;
use crate::settings::ModuleBytes;

/// The compiler refuses larger modules (`MAX_WASM_MODULE_SIZE` of wasmparser).
pub(crate) const MAX_BYTES: u64 = 1 << 30;

/// Enough to recognise a file. A text may begin with comments.
const HEAD_BYTES: u64 = 64 << 10;

/// The first half of a binary's preamble. The second half tells core modules from components.
const WASM: &[u8] = b"\0asm";

/// The place in an ELF file that names its system, and wasmtime's number for itself.
const ELF: &[u8] = b"\x7fELF";
const ELF_SYSTEM: usize = 7;
const WASMTIME: u8 = 200;

const COMPILED: &str =
    "code that wasmtime has compiled (.cwasm); give the module that it was compiled from";

/// Binaries that are mistaken for modules, by their first bytes.
const BINARIES: [(&[u8], &str); 10] = [
    (
        ELF,
        "a native program or library (ELF); build it for wasm32-wasip2",
    ),
    (
        b"\xcf\xfa\xed\xfe",
        "a native program or library (Mach-O); build it for wasm32-wasip2",
    ),
    (
        b"MZ",
        "a native program or library (Windows); build it for wasm32-wasip2",
    ),
    (b"!<arch>\n", "a native library (ar)"),
    (b"BC\xc0\xde", "LLVM's bitcode"),
    (b"\x1f\x8b", "gzip; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "zstd; unpack it first"),
    (b"\xfd7zXZ", "xz; unpack it first"),
    (b"PK\x03\x04", "a ZIP archive; unpack it first"),
    (b"#!", "a script"),
];

const JAVASCRIPT: &str = "JavaScript; make it a component first, as componentize-js does";
const PYTHON: &str = "Python; make it a component first, as componentize-py does";

/// Beginnings of JavaScript. Some include a parenthesis, as WebAssembly's text does.
const JAVASCRIPT_BEGINS: [&str; 14] = [
    "(function",
    "(()",
    "(async",
    "import ",
    "export ",
    "const ",
    "let ",
    "var ",
    "function ",
    "async ",
    "class ",
    "\"use strict\"",
    "'use strict'",
    "//",
];

/// Beginnings of Python. The second list counts only in a line without quotes and braces.
const PYTHON_BEGINS: [&str; 2] = ["from ", "def "];
const PERHAPS_PYTHON_BEGINS: [&str; 2] = ["import ", "class "];

/// Reads a whole module.
///
/// # Errors
/// If the file can't be read, is not a regular file, is too large, or is not WebAssembly.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, LoadError> {
    let unread = |error| LoadError::Read {
        path: path.to_owned(),
        error,
    };
    // Checked before opening: opening a FIFO waits for a writer.
    let metadata = path.metadata().map_err(unread)?;
    if let Some(kind) = no_file(metadata.file_type()) {
        let path = path.to_owned();
        return Err(LoadError::NotAFile { path, kind });
    }
    let bytes = metadata.len();
    if bytes > MAX_BYTES {
        let (path, most) = (path.to_owned(), MAX_BYTES);
        return Err(LoadError::FileTooLarge { path, bytes, most });
    }
    let mut file = File::open(path).map_err(unread)?.take(MAX_BYTES);
    let mut bytes = Vec::new();
    let mut head = (&mut file).take(HEAD_BYTES);
    head.read_to_end(&mut bytes).map_err(unread)?;
    if let Some(looks) = other_than_wasm(&bytes) {
        let looks = by_name(path).unwrap_or(looks);
        let path = path.to_owned();
        return Err(LoadError::NotWasm { path, looks });
    }
    file.read_to_end(&mut bytes).map_err(unread)?;
    Ok(bytes)
}

/// The bytes of a module that is in no file.
///
/// # Errors
/// As [`read`].
pub(super) fn judged(module: &ModuleBytes) -> Result<Bytes, LoadError> {
    let ModuleBytes { name, bytes } = module;
    let (path, size) = (PathBuf::from(name), bytes.len() as u64);
    if size > MAX_BYTES {
        let (bytes, most) = (size, MAX_BYTES);
        return Err(LoadError::FileTooLarge { path, bytes, most });
    }
    let head = &bytes[..bytes.len().min(HEAD_BYTES as usize)];
    match other_than_wasm(head) {
        Some(looks) => Err(LoadError::NotWasm { path, looks }),
        None => Ok(bytes.clone()),
    }
}

/// The kind of a file that is not a regular file.
fn no_file(kind: FileType) -> Option<&'static str> {
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// What a file that is not WebAssembly is by its name, which says more than its first words.
fn by_name(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" | "mjs" | "ts" => Some(JAVASCRIPT),
        "py" => Some(PYTHON),
        "rs" => Some("Rust; build it with `cargo build --target wasm32-wasip2`"),
        "go" => Some("Go; build it with `GOOS=wasip1 GOARCH=wasm go build`"),
        "c" | "h" | "cc" | "cpp" => Some("C; build it with clang for wasm32-wasi"),
        "php" => Some("PHP, which needs its interpreter as a module"),
        "toml" => Some("TOML; give the .wasm file that it names, or the file as --config"),
        _ => None,
    }
}

/// What this beginning of a file looks like, unless the file may be a module.
fn other_than_wasm(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(WASM) {
        return None;
    }
    if head.is_empty() {
        return Some("an empty file; build it again");
    }
    if head.starts_with(ELF) && head.get(ELF_SYSTEM) == Some(&WASMTIME) {
        return Some(COMPILED);
    }
    let binary = BINARIES.iter().find(|(begin, _)| head.starts_with(begin));
    if let Some((_, name)) = binary {
        return Some(name);
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The head may end in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Some("binary data"),
    };
    other_than_wat(text)
}

/// What this text looks like, unless it may be WebAssembly's text: comments and parentheses.
fn other_than_wat(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let line = text.lines().next().unwrap_or_default();
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    let has_quote_or_brace = line.contains(['"', '\'', '{']);
    if begins(&PYTHON_BEGINS) || (begins(&PERHAPS_PYTHON_BEGINS) && !has_quote_or_brace) {
        Some(PYTHON)
    } else if begins(&JAVASCRIPT_BEGINS) {
        Some(JAVASCRIPT)
    } else if begins(&["(", ";;"]) {
        None
    } else if begins(&["<"]) {
        Some("HTML or XML")
    } else if begins(&["{", "["]) {
        Some("JSON")
    } else if text.contains('\0') {
        Some("binary data")
    } else {
        Some("text of another kind")
    }
}
