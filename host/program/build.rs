//! Gathers the templates of `new`: the files below `templates/`, and what belongs to them and lives
//! elsewhere, the contract, the guest library, and the bindings for C. So a new project never has
//! another contract than the host that made it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::Files;
use wit_bindgen_core::wit_parser::Resolve;

const LANGUAGES: &[&str] = &["c", "go", "javascript", "python", "rust"];

/// A file's path in a new project, and where its content is.
type Listed = (String, PathBuf);

fn main() -> Result<(), String> {
    let program = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    let workspace = program.ancestors().nth(2).ok_or("not in its workspace")?;
    let templates = program.join("templates");
    let (wit, library) = (
        workspace.join("wit"),
        workspace.join("guest-worker/guest/src"),
    );
    for input in [&templates, &wit, &library] {
        println!("cargo:rerun-if-changed={}", input.display());
    }
    let mut code = String::new();
    for language in LANGUAGES {
        let mut files = listed(&templates.join(language), "")?;
        match *language {
            "rust" => {
                files.extend(listed(&library, "vendor/wasm-pool-guest/src/")?);
                files.extend(listed(&wit, "wit/")?);
            }
            "c" => {
                files.extend(listed(&bindings(&wit, &out)?, "bindings/")?);
                files.extend(listed(&wit, "wit/")?);
            }
            _ => {}
        }
        let name = language.to_uppercase();
        let mut list = format!("static {name}: &[(&str, &[u8])] = &[\n");
        for (path, source) in files {
            let source = source.to_str().ok_or("a path that is not UTF-8")?;
            writeln!(list, "    ({path:?}, include_bytes!({source:?})),")
                .map_err(|error| error.to_string())?;
        }
        code += &list;
        code += "];\n";
    }
    written(&out.join("templates.rs"), code.as_bytes())
}

/// All files below a folder, sorted, with what stands before their paths in a project.
fn listed(folder: &Path, before: &str) -> Result<Vec<Listed>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or("a name that is not UTF-8")?;
        if path.is_dir() {
            files.extend(listed(&path, &format!("{before}{name}/"))?);
        } else {
            files.push((in_project(&format!("{before}{name}")), path));
        }
    }
    files.sort();
    Ok(files)
}

/// Two names would mean something to git and cargo while they are templates.
fn in_project(path: &str) -> String {
    match path {
        "gitignore" => ".gitignore".into(),
        "Cargo.toml.template" => "Cargo.toml".into(),
        "vendor/Cargo.toml.template" => "vendor/wasm-pool-guest/Cargo.toml".into(),
        other => other.into(),
    }
}

/// What `wit-bindgen c` writes for the world `handler`.
fn bindings(wit: &Path, out: &Path) -> Result<PathBuf, String> {
    let failed = |error: &dyn std::fmt::Display| format!("bindings for C: {error:#}");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).map_err(|error| failed(&error))?;
    let world = resolve.select_world(&[package], Some("handler"));
    let world = world.map_err(|error| failed(&error))?;
    let mut files = Files::default();
    let mut generator = wit_bindgen_c::Opts::default().build();
    let generated = generator.generate(&mut resolve, world, &mut files);
    generated.map_err(|error| failed(&error))?;
    let folder = out.join("bindings");
    fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
    for (name, content) in files.iter() {
        written(&folder.join(name), content)?;
    }
    Ok(folder)
}

fn written(path: &Path, content: &[u8]) -> Result<(), String> {
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}
