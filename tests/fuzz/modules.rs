//! Any file as a module: the host reports what is wrong in a few plain words. It neither panics nor
//! takes for ever.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use wasm_pool_host::{Module, check};

use super::{changed, fuzz};
use crate::support::{Folder, guests, wat};

/// The longest time to compile or refuse a small module, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest error about a module.
const SENTENCE_BYTES: usize = 16 << 10;

const MEMORY: u64 = 64 << 20;

#[test]
fn any_file_is_a_module_or_told_why_not() {
    const WORDS: &[&str] = &[
        "\\x00asm\\x01\\x00\\x00\\x00",
        "\\x00asm\\x0d\\x00\\x01\\x00",
        "\\x00",
        "\\x80\\x80\\x80\\x80\\x08",
        "\\xff\\xff\\xff\\xff\\x0f",
        "\\x00\\x04name",
        "(",
        ")",
        "(component",
        "(module",
        "\"",
        "\\x1b[31m",
        "wasm-pool:worker/files@0.4.0",
    ];
    let binary = std::fs::read(guests::path("hello")).expect("a component");
    let text = wat::worker("").into_bytes();
    let empty = b"(component)".to_vec();
    let folder = Folder::new();
    let file = folder.path().join("module");
    fuzz(changed(vec![binary, text, empty], WORDS), |bytes| {
        std::fs::write(&file, &bytes).expect("a file");
        let start = Instant::now();
        let said = match check(&Module::File(file.clone()), MEMORY) {
            Ok(report) => report.obstacle.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        prop_assert!(start.elapsed() < PATIENCE);
        prop_assert!(
            said.len() < SENTENCE_BYTES,
            "{} bytes: {:.200}",
            said.len(),
            said
        );
        prop_assert!(!said.contains('\x1b'), "{:?}", said);
        Ok(())
    });
}
