//! Kinds of modules: which are accepted, and what is said of the others, by `check`, `serve` and
//! `run` alike.

use std::path::Path;

use super::{run, wat_file};
use crate::support::Folder;
use crate::support::wat::interface;

/// An export of a component: an instance without anything, or a function without parameters.
fn export(name: &str) -> String {
    if name.contains(':') {
        format!("(export \"{name}\" (instance $empty))")
    } else {
        format!("(export \"{name}\" (func $function))")
    }
}

/// A component with these exports and imports. An import has one function.
fn component(exports: &[&str], imports: &[&str]) -> String {
    let import = |name: &&str| format!("(import \"{name}\" (instance (export \"f\" (func))))");
    let imports: String = imports.iter().map(import).collect();
    let exports: String = exports.iter().map(|name| export(name)).collect();
    format!(
        r#"(component {imports}
          (core module $module (func (export "f")))
          (core instance $core (instantiate $module))
          (func $function (canon lift (core func $core "f")))
          (instance $empty)
          {exports})"#
    )
}

/// A command that is a core module, with these fields beside `_start`.
fn command(fields: &str) -> String {
    format!("(module {fields} (func (export \"_start\")))")
}

/// An import of a core module.
fn import(module: &str, name: &str) -> String {
    format!("(import \"{module}\" \"{name}\" (func))")
}

fn check(module: &Path) -> (i32, String) {
    let (code, output, errors) = run(&["check", &module.display().to_string()]);
    (code, output + &errors)
}

#[test]
fn modules_of_many_kinds_are_accepted() {
    const WASI_01: &str = "
        (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))
        (memory (export \"memory\") 1)";
    let http03 = "an HTTP handler for WASI 0.3";
    let http02 = "an HTTP handler for WASI 0.2";
    #[rustfmt::skip] // one line per case
    let cases = [
        (component(&["run"], &[]), "a program"),
        (component(&["wasi:http/handler@0.3.0"], &[]), http03),
        (component(&["wasi:http/handler@0.3.2"], &[]), http03),
        (component(&["wasi:http/incoming-handler@0.2.0"], &[]), http02),
        (component(&["wasi:http/incoming-handler@0.2.3"], &[]), http02),
        (component(&["wasi:http/incoming-handler@0.2.12"], &[]), http02),
        (component(&["wasi:cli/run@0.2.0"], &[]), "a command for WASI 0.2"),
        (component(&["wasi:cli/run@0.2.12"], &[]), "a command for WASI 0.2"),
        (component(&["wasi:cli/run@0.3.0"], &[]), "a command for WASI 0.3"),
        (command(""), "a command for WASI 0.1"),
        (command(WASI_01), "a command for WASI 0.1"),
        // Several exports at once: ours, then HTTP, newer first, then commands.
        (component(&["wasi:http/handler@0.3.0", "run"], &[]), "a program"),
        (component(&["wasi:cli/run@0.2.0", "wasi:http/incoming-handler@0.2.0"], &[]), http02),
        (component(&["wasi:http/incoming-handler@0.2.0", "wasi:http/handler@0.3.0"], &[]), http03),
        (component(&["wasi:cli/run@0.3.0", "wasi:http/handler@0.3.0", "other"], &[]), http03),
        (component(&["wasi:http/handler@0.3.0-rc-2026-03-15", "wasi:cli/run@0.2.0"], &[]), "a command"),
        // An interface of types needs nobody.
        ("(component (import \"acme:types/types@1.0.0\" (instance (type $t u8) (export \"t\" (type (eq $t)))))
           (instance $empty) (export \"wasi:cli/run@0.2.0\" (instance $empty)))".to_owned(), "types only"),
    ];
    for (text, kind) in cases {
        let file = wat_file(&text);
        let (code, said) = check(file.path());
        assert_eq!(code, 0, "{text}: {said}");
        assert!(said.contains(kind), "{kind} in {said}");

        let binary = wat::parse_str(&text).expect("a module's text");
        let folder = Folder::new().file("module", &*binary);
        let (code, said) = check(&folder.root().join("module"));
        assert_eq!(code, 0, "{text}, binary: {said}");
        assert!(said.contains(kind), "{kind} in {said}");
    }
}

#[test]
fn other_modules_are_refused_by_what_they_are() {
    const HTTP: &str = "wasi:http/incoming-handler@0.2.0";
    let nested = |fields: &str| {
        format!(
            "(component (core module {fields}) {}",
            &component(&["run"], &[])["(component ".len()..]
        )
    };
    let mailbox = interface("mailbox");
    #[rustfmt::skip] // one line per case: the module, what was found, what to do
    let cases = [
        // Core modules.
        ("(module (func (export \"_initialize\")))".to_owned(), "it is a reactor", "a `main`"),
        (command(&import("env", "emscripten_resize_heap")), "env.emscripten_resize_heap", "wasi-sdk"),
        (command(&import("a", "b")), "`a.b`, which only the JavaScript of Emscripten has", "for WASI"),
        (command(&import("env", "abort")), "AssemblyScript's", "wasi-shim"),
        (command(&import("gojs", "runtime.wasmExit")), "gojs.runtime.wasmExit", "GOOS=wasip1"),
        (command(&import("wbg", "__wbindgen_throw")), "wasm-bindgen's", "wasm32-wasip2"),
        (command(&import("./app_bg.js", "now")), "wasm-bindgen's", "wasm32-wasip2"),
        (command(&import("rb-js-abi-host", "eval-js")), "Ruby's npm package", "WASI build"),
        (command(&import("wasix_32v1", "thread_spawn_v2")), "is WASIX", "build it for WASI"),
        (command(&import("wasi", "thread-spawn")), "threads", "without -pthread"),
        (command("(import \"env\" \"memory\" (memory 1 2 shared))"), "threads", "without -pthread"),
        (command("(memory 1 2 shared)"), "threads", "without -pthread"),
        (command("(tag (param i32))"), "exceptions", "-fno-exceptions"),
        (command("(type (struct (field i32)))"), "garbage-collected types", "its own memory"),
        (command(&import("fastly_http_req", "send")), "only Fastly Compute has", "build it without"),
        (command(&import("extism:host/env", "alloc")), "only Extism has", "build it without"),
        (command(&import("other", "f")), "`other.f`, which this host does not have", "wasm32-wasip1"),
        (command(&import("wasi_snapshot_preview1", "fd_new")), "wasi_snapshot_preview1.fd_new", "wasm32-wasip1"),
        (command(&import("wasi_snapshot_preview1", "fd_write")), "no `memory`", "export its memory"),
        (command(&import("wasm-pool:worker/files@0.4.0", "open")), "not yet wrapped", "component new"),
        ("(module (@custom \"component-type:x\" \"\") (func (export \"handle\")))".to_owned(), "not yet wrapped", "component new"),
        ("(module)".to_owned(), "a core module that exports nothing", "`_start`"),
        ("(module (global (export \"_start\") i32 (i32.const 0)))".to_owned(), "exports `_start`, and nothing", "`_start` (give it a `main`"),
        ("(module (func (export \"main\")))".to_owned(), "exports `main`, and nothing", "handle: func("),
        // Components.
        ("(component)".to_owned(), "a component that exports nothing", "handle: func(request: request) -> response"),
        (component(&["other"], &[]), "exports `other`, and nothing", "wit/worker.wit"),
        (component(&["a", "b", "c", "d"], &[]), "`a`, `b`, `c` and 1 more", "wasi:http/handler@0.3"),
        (component(&["wasi:http/handler@0.4.0"], &[]), "exports `wasi:http/handler@0.4.0`", "wasi:http/handler@0.3"),
        (component(&["wasi:http/handler"], &[]), "exports `wasi:http/handler`", "wasi:http/handler@0.3"),
        (component(&["handle", "run"], &[]), "both `handle` and `run`", "drop one"),
        (component(&["wasi:http/handler@0.3.0-rc-2026-03-15"], &[]), "built for a draft of WASI (`wasi:http/handler@0.3.0-rc-2026-03-15`)", "rebuild it"),
        (component(&["wasi:http/incoming-handler@0.2.0-rc-2023-11-10"], &[]), "built for a draft", "rebuild it"),
        (component(&[HTTP], &["wasi:io/streams@0.2.0-rc-2023-11-10"]), "built for a draft of WASI (`wasi:io/streams", "rebuild it"),
        (component(&[HTTP], &["wasi:keyvalue/store@0.2.0-draft"]), "`wasi:keyvalue/store@0.2.0-draft`, which this host does not have", "build it without"),
        (component(&[HTTP], &["spin:key-value/key-value@3.0.0"]), "only Spin has", "run it there"),
        (component(&[HTTP], &["fermyon:spin/llm@2.0.0"]), "only Spin has", "run it there"),
        (component(&["fermyon:spin/inbound-http"], &[]), "only Spin has", "run it there"),
        (component(&[HTTP], &["wasmcloud:bus/lattice@1.0.0"]), "only wasmCloud has", "run it there"),
        (component(&[HTTP], &[HTTP]), "it is a middleware", "compose the two"),
        (component(&["wasi:http/handler@0.3.0"], &["wasi:http/handler@0.3.0"]), "it is a middleware", "compose the two"),
        (component(&[HTTP], &["wasi:clocks/system-clock@0.3.0"]), "which only modules that export WASI 0.3 have", "WASI 0.2"),
        (component(&[HTTP], &[&mailbox]), "which only programs have", "run: func()"),
        (component(&[HTTP], &["acme:billing/ledger@1.0.0"]), "acme:billing/ledger@1.0.0", "wac plug"),
        (nested("(tag (param i32))"), "exceptions", "-fno-exceptions"),
        (nested("(memory 1 2 shared)"), "threads", "without -pthread"),
    ];
    for (text, found, remedy) in cases {
        let file = wat_file(&text);
        let module = file.path().display().to_string();
        for command in [
            &["check", &module][..],
            &["run", &module],
            &["serve", "--listen", "0", "--module", &module],
        ] {
            let (code, output, errors) = run(command);
            assert_eq!(code, 1, "{text} {command:?}: {output}{errors}");
            let said = output + &errors;
            let sentence = said.lines().find(|line| line.contains("does not run here"));
            let sentence = sentence.unwrap_or_else(|| panic!("{text} {command:?}: {said}"));
            for word in [found, remedy] {
                assert!(
                    sentence.contains(word),
                    "{word} in {sentence} ({command:?})"
                );
            }
        }
    }
}

#[test]
fn check_says_who_has_each_import() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("wasi:cli/environment@0.2.0", "WASI 0.2"),
        ("wasi:cli/environment@0.3.0", "WASI 0.3"),
        ("wasi:clocks/wall-clock@0.2.12", "WASI 0.2"),
        ("wasi:clocks/system-clock@0.3.2", "WASI 0.3"),
        ("wasi:http/types@0.2.3", "WASI 0.2"),
        ("wasi:http/types@0.3.0", "WASI 0.3"),
        ("wasi:http/outgoing-handler@0.2.3", "outgoing HTTP, denied"),
        ("wasi:http/client@0.3.0", "outgoing HTTP, denied"),
        ("wasi:sockets/tcp@0.2.9", "sockets, always denied"),
        ("wasi:sockets/types@0.3.0", "sockets, always denied"),
        ("wasi:config/store@0.2.0-rc.1", "configuration values"),
        ("wasi:config/store@0.2.0-draft-2024-09-27", "configuration values"),
        ("wasi:logging/logging@0.1.0-draft", "the log"),
        ("wasi:clocks/wall-clock@0.2.0-rc-2023-11-10", "nobody"),
        ("wasi:keyvalue/store@0.2.0-draft", "nobody"),
        ("wasi:cli/environment@0.4.0", "nobody"),
        ("acme:billing/ledger@1.0.0", "nobody"),
    ];
    let names: Vec<_> = cases.iter().map(|(name, _)| *name).collect();
    let files = interface("files");
    let text = component(
        &["wasi:http/handler@0.3.0"],
        &[&names[..], &[files.as_str()][..]].concat(),
    );
    let (code, said) = check(wat_file(&text).path());
    assert_eq!(code, 1, "{said}");
    for (name, provider) in cases.iter().copied().chain([(&*files, "the contract")]) {
        let mut lines = said.lines().map(str::trim_start);
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("{name} in {said}"));
        assert!(line.trim_start().starts_with(provider), "{name}: {line}");
    }

    let core = command(&(import("wasi_snapshot_preview1", "sched_yield") + &import("x", "y")));
    let (_, said) = check(wat_file(&core).path());
    for line in [
        "wasi_snapshot_preview1.sched_yield  WASI 0.1",
        "x.y",
        "nobody",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn check_knows_the_shape_of_exports_and_the_initial_memory() {
    let cases = [
        (
            component(&["handle"], &[]),
            "handle: func(request: request) -> response",
        ),
        (
            "(module (func (export \"_start\") (param i32)))".to_owned(),
            "_start: func()",
        ),
        (command("(memory 2000)"), "allow it"),
    ];
    for (text, word) in cases {
        let (code, said) = check(wat_file(&text).path());
        assert_eq!(code, 1, "{text}: {said}");
        assert!(said.contains(word), "{word} in {said}");
    }
}
