//! Placeholder until the inspection of modules stands.

use crate::kind::Kind;

pub(super) fn inspect(bytes: &[u8]) -> Kind {
    let has = |name: &[u8]| memchr::memmem::find(bytes, name).is_some();
    if has(b"wasm-pool:worker") {
        if has(b"mailbox") || has(b"process") { Kind::Program } else { Kind::Handler }
    } else if has(b"wasi:http/handler@0.3") {
        Kind::Http03
    } else if has(b"wasi:http/incoming-handler@0.2") {
        Kind::Http02
    } else if has(b"wasi:cli/run@0.3") {
        Kind::Command03
    } else if has(b"wasi:cli/run@0.2") {
        Kind::Command02
    } else if bytes.starts_with(b"\0asm\x01\0\0\0") && has(b"_start") {
        Kind::CommandCore
    } else {
        Kind::Handler
    }
}
