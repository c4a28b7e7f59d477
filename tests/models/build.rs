//! Includes the host's files unchanged, and once more for each fault, with the fault put in.

#[path = "faults.rs"]
mod faults;

use std::ffi::OsString;
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
    // The host's files name a feature of the host.
    println!("cargo::rustc-check-cfg=cfg(feature, values(\"cluster\"))");
    let mut included = String::new();
    for part in PARTS {
        let Part { name, .. } = part;
        let files: Vec<File> = part
            .files
            .iter()
            .map(|file| read(&host, file, part))
            .collect();
        let models = here.join("src").join(name).with_extension("rs");
        let mut mutants = String::new();
        include(&mut included, out, name, &files, &models);
        for (number, Fault { words, changes }) in part.faults.iter().enumerate() {
            let mutant = format!("{name}_{number}");
            let mut files = files.clone();
            let applies = changes.iter().all(|change| apply(&mut files, *change));
            include(&mut included, out, &mutant, &files, &models);
            let _ = writeln!(
                mutants,
                "check::Mutant {{ fault: {words:?}, models: {mutant}::MODELS, applies: {applies} }},"
            );
        }
        let _ = writeln!(
            included,
            "/// Faults in that part.\npub const {}_MUTANTS: &[check::Mutant] = &[{mutants}];",
            name.to_uppercase()
        );
    }
    fs::write(out.join("included.rs"), included).expect("the build's own folder");
}

/// A file of the host, by its own name.
#[derive(Clone)]
struct File {
    name: OsString,
    text: String,
}

fn read(host: &Path, file: &str, part: &Part) -> File {
    let path = host.join(file);
    println!("cargo::rerun-if-changed={}", path.display());
    let text = fs::read_to_string(&path).expect("a file of the host");
    // The file's own tests run in the host.
    let mut text = text.replace("#[cfg(test)]\nmod tests;\n", "");
    for (from, to) in part.sizes {
        text = text.replace(from, to);
    }
    let name = path.file_name().expect("a file has a name").to_owned();
    File { name, text }
}

/// Writes a module of these files and their models. The first file declares the others as modules.
fn include(included: &mut String, out: &Path, name: &str, files: &[File], models: &Path) {
    let folder = out.join(name);
    fs::create_dir_all(&folder).expect("the build's own folder");
    for File { name, text } in files {
        fs::write(folder.join(name), text).expect("the build's own folder");
    }
    let first = folder.join(&files[0].name);
    let _ = writeln!(
        included,
        "/// A part of the host, with its models.
         pub mod {name} {{
             #[allow(warnings, clippy::all, clippy::pedantic)]
             #[path = {first:?}]
             mod tested;
             #[path = {models:?}]
             mod models;
             pub use models::MODELS;
         }}",
    );
}

/// Replaces the text, if the files have it exactly once. Returns whether they do.
fn apply(files: &mut [File], (from, to): (&str, &str)) -> bool {
    let places = |file: &File| file.text.matches(from).count();
    if files.iter().map(places).sum::<usize>() != 1 {
        return false;
    }
    for file in files {
        file.text = file.text.replace(from, to);
    }
    true
}
