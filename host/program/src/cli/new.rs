//! `new`: the name of a project, and its language.

use std::str::FromStr;

use clap::ValueEnum;

/// Languages with a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// This host's own contract, by the library `wasm-pool-guest`
    Rust,
    /// This host's own contract, by `wit-bindgen`; PyPI has the compiler
    C,
    /// CGI, by `net/http/cgi`
    Go,
    /// wasi:http 0.2, a `fetch` event, by componentize-js
    #[value(alias = "js")]
    Javascript,
    /// wasi:http 0.3, by componentize-py
    #[value(alias = "py")]
    Python,
}

impl Language {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::C => "C",
            Self::Go => "Go",
            Self::Javascript => "JavaScript",
            Self::Python => "Python",
        }
    }
}

/// A project's name: of its folder, its package and its module. All package managers take it.
#[derive(Clone, Debug)]
pub(crate) struct Name(pub(crate) String);

/// Longer names make longer paths than tools like.
const MAX_NAME_BYTES: usize = 64;

/// What cargo or npm refuse, or what would hide the library that workers are written with.
#[rustfmt::skip]
const TAKEN: &[&str] = &[
    "abstract", "alloc", "as", "async", "await", "become", "bin", "box", "break", "build", "const",
    "continue", "core", "crate", "deps", "do", "dyn", "else", "enum", "examples", "extern", "false",
    "final", "fn", "for", "gen", "if", "impl", "in", "incremental", "let", "loop", "macro", "match",
    "mod", "move", "mut", "node_modules", "override", "priv", "proc-macro", "proc_macro", "pub",
    "ref", "return", "self", "static", "std", "struct", "super", "test", "trait", "true", "try",
    "type", "typeof", "unsafe", "unsized", "use", "virtual", "wasm-pool-guest", "wasm_pool_guest",
    "where", "while", "yield",
];

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return Err("give a name and not a path; the folder is made where you are".into());
        }
        let is_word = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '_');
        let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase());
        if !begins || !text.chars().all(is_word) {
            return Err("a name begins with a small letter from a to z, \
                        and has only such letters, digits, - and _"
                .into());
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(format!("a name has at most {MAX_NAME_BYTES} letters"));
        }
        if TAKEN.contains(&text) {
            return Err("compilers or package managers keep this name for themselves".into());
        }
        Ok(Self(text.to_owned()))
    }
}
