//! Includes the host's files as they are, and once more for each fault that is put into them.

#[path = "faults.rs"]
mod faults;

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use faults::{Fault, PARTS, Part};

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let host = here
        .join("../../host/src")
        .canonicalize()
        .expect("the host's source");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let out = Path::new(&out);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=faults.rs");
    let mut included = String::new();
    for Part { name, file, faults } in PARTS {
        let file = host.join(file);
        println!("cargo::rerun-if-changed={}", file.display());
        let text = fs::read_to_string(&file).expect("a file of the host");
        // The file's own tests run in the host.
        let text = text.replace("#[cfg(test)]\nmod tests;\n", "");
        let models = here.join("src").join(name).with_extension("rs");
        let mut mutants = String::new();
        include(&mut included, out, name, &text, &models);
        for (number, Fault { words, changes }) in faults.iter().enumerate() {
            let mutant = format!("{name}_{number}");
            let (text, applies) = apply(&text, changes);
            include(&mut included, out, &mutant, &text, &models);
            let _ = writeln!(
                mutants,
                "check::Mutant {{ fault: {words:?}, models: {mutant}::MODELS, applies: {applies} }},"
            );
        }
        let _ = writeln!(
            included,
            "/// Faults in that file.\npub const {}_MUTANTS: &[check::Mutant] = &[{mutants}];",
            name.to_uppercase()
        );
    }
    fs::write(out.join("included.rs"), included).expect("the build's own folder");
}

/// A module with this text of a file, and the models of the file.
fn include(included: &mut String, out: &Path, name: &str, text: &str, models: &Path) {
    let file = out.join(name).with_extension("rs");
    fs::write(&file, text).expect("the build's own folder");
    let _ = writeln!(
        included,
        "/// A file of the host, with its models.
         pub mod {name} {{
             #[allow(warnings, clippy::all, clippy::pedantic)]
             #[path = {file:?}]
             mod tested;
             #[path = {models:?}]
             mod models;
             pub use models::MODELS;
         }}",
    );
}

/// Whether all that was to be replaced stands in the text, once.
fn apply(text: &str, changes: &[(&str, &str)]) -> (String, bool) {
    let mut text = text.to_owned();
    for (from, to) in changes {
        if text.matches(from).count() != 1 {
            return (text, false);
        }
        text = text.replace(from, to);
    }
    (text, true)
}
