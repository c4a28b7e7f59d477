//! Modules: which files are accepted, and what `check` reports about them.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};

use super::{run, wat_file};
use crate::support::wat::{Worker, contract_version, interface, worker};
use crate::support::{Folder, guests};

#[test]
fn a_module_is_a_regular_file() {
    let folder = Folder::new();
    let path = |name: &str| folder.root().join(name);
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RWXU, 0).expect("a FIFO");
    let _socket = UnixListener::bind(path("socket")).expect("a socket");
    let huge = fs::File::create(path("huge")).and_then(|file| file.set_len((1 << 30) + 1));
    huge.expect("a sparse file");
    for (module, named) in [
        (path("fifo"), "this is a FIFO"),
        (path("socket"), "this is a socket"),
        (path("huge"), "1073741825 bytes"),
        (folder.root(), "this is a folder"),
        ("/dev/zero".into(), "this is a device"),
    ] {
        let module = module.display().to_string();
        for command in [
            &["check", &module][..],
            &["run", &module],
            &["serve", "--listen", "0", "--module", &module],
        ] {
            let (code, output, errors) = run(command);
            assert_eq!((code, &*output), (1, ""), "{command:?}: {errors}");
            assert!(errors.contains(named), "{command:?}: {errors}");
        }
    }
}

#[test]
fn what_is_no_wasm_is_called_what_it_is() {
    #[rustfmt::skip] // one line per case
    let cases: &[(&[u8], &str)] = &[
        (b"", "an empty file"),
        (b"\x7fELF\x02\x01\x01\0 and so on", "ELF"),
        (b"\x7fELF\x02\x01\x01\xc8 and so on", ".cwasm"),
        (b"\x1f\x8b\x08\0\0", "gzip"),
        (b"PK\x03\x04\0\0", "ZIP"),
        (b"#!/bin/sh\necho", "a script"),
        (b"\0\x01\x02\x03", "binary data"),
        (b"\xff\xfe\0a", "binary data"),
        (b"import { x } from 'y';", "JavaScript"),
        (b"export default {}", "JavaScript"),
        (b"// a comment\nlet x = 1", "JavaScript"),
        (b"(() => {})()", "JavaScript"),
        (b"import os\n", "Python"),
        (b"def main():\n", "Python"),
        (b"<!doctype html>", "HTML"),
        (b"{\"a\": 1}", "JSON"),
        ("grüezi".as_bytes(), "text of another kind"),
    ];
    for (content, named) in cases {
        let folder = Folder::new().file("module", content);
        let (code, output, errors) = check(&folder.root().join("module"));
        assert_eq!((code, &*output), (1, ""), "{named}: {errors}");
        let said = "this is not WebAssembly: it looks like ";
        assert!(
            errors.contains(said) && errors.contains(named),
            "{named}: {errors}"
        );
    }
}

#[test]
fn a_compiler_s_message_is_short_and_plain() {
    let long = "x".repeat(2 << 20);
    for text in [
        format!("(component {long}"),
        format!("(component ;; \x1b[31m\x07 {long}\n what"),
        "(component (what \x1b[31m\u{202e}))".to_owned(),
        "(component\n (what\n".repeat(10_000),
        "(component (import \"url=<\x1b[31m\u{202e}>\" (func)))".to_owned(),
    ] {
        let (code, output, errors) = check(wat_file(&text).path());
        assert_eq!(code, 1, "{output}{errors}");
        let said = output + &errors;
        assert!(said.len() < 8 << 10, "{} bytes", said.len());
        let plain = |letter: char| letter == '\n' || !(letter.is_control() || letter == '\u{202e}');
        assert!(said.chars().all(plain), "{said:?}");
    }
}

#[test]
fn check_of_a_worker_that_runs() {
    let by_hand = wat_file(&worker(""));
    for module in [guests::path("hello").as_path(), by_hand.path()] {
        let (code, output, errors) = check(module);
        assert_eq!(code, 0, "{output}{errors}");
        for word in ["handle", &interface("http")] {
            assert!(output.contains(word), "{word} in {output}");
        }
    }
    let (_, output, _) = check(by_hand.path());
    for word in [&interface("files"), "wasi:clocks/wall-clock@0.2.0"] {
        assert!(output.contains(word), "{word} in {output}");
    }
}

#[test]
fn check_names_the_import_that_is_missing() {
    let imports = "(import \"acme:billing/ledger@1.0.0\" (instance (export \"charge\" (func))))\n";
    let missing = wat_file(
        &Worker {
            imports,
            ..Worker::default()
        }
        .text(),
    );
    let (code, output, errors) = check(missing.path());
    assert_eq!(code, 1, "{output}{errors}");
    let said = output + &errors;
    assert!(said.contains("acme:billing/ledger@1.0.0"), "{said}");

    let (code, output, errors) = run(&[
        "--module",
        &missing.path().display().to_string(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert!(code != 0 && output.is_empty(), "{output}");
    assert!(errors.contains("acme:billing/ledger@1.0.0"), "{errors}");
}

#[test]
fn a_module_of_another_contract_is_refused() {
    let version = contract_version();
    for other in ["0.1.0", "0.2.1", "1.0.0"] {
        let text = worker("").replace(&format!("@{version}\""), &format!("@{other}\""));
        let old = wat_file(&text);
        let module = old.path().display().to_string();
        let served = run(&["--module", &module, "--listen", "127.0.0.1:0"]);
        for (code, output, errors) in [check(old.path()), served] {
            assert_ne!(code, 0, "{output}{errors}");
            let said = output + &errors;
            let import = format!("it imports `wasm-pool:worker/files@{other}`");
            let host = format!("this host has {version}");
            for word in [&import, &host, "wasm-pool-guest"] {
                assert!(said.contains(word), "{word} in {said}");
            }
        }
    }
}

#[test]
fn check_names_the_function_that_is_missing() {
    let text = worker("").replace(
        "\"now\" (func (result $datetime))",
        "\"later\" (func (result $datetime))",
    );
    let text = text.replace(
        "(alias export $clock \"now\"",
        "(alias export $clock \"later\"",
    );
    let (code, output, errors) = check(wat_file(&text).path());
    assert_eq!(code, 1, "{output}{errors}");
    assert!((output + &errors).contains("later"));
}

#[test]
fn check_of_what_does_not_handle_requests() {
    for text in [
        "(component)",
        "(component (core module $m (func (export \"handle\"))) (core instance $i (instantiate $m))
           (func (export \"handle\") (canon lift (core func $i \"handle\"))))",
    ] {
        let (code, output, errors) = check(wat_file(text).path());
        assert_eq!(code, 1, "{output}{errors}");
        assert!((output + &errors).contains("handle"), "{text}");
    }
}

#[test]
fn check_of_what_is_no_component() {
    let folder = Folder::new()
        .file("garbage.wasm", b"\x7fELF and so on")
        .file("empty.wasm", "")
        .file("half.wasm", b"\0asm\x0d\0\x01\0\x07")
        .file("core.wasm", b"\0asm\x01\0\0\0")
        .file("core.wat", "(module)")
        .file("broken.wat", "(component (what");
    for name in [
        "garbage.wasm",
        "empty.wasm",
        "half.wasm",
        "core.wasm",
        "core.wat",
        "broken.wat",
        "missing.wasm",
    ] {
        let (code, output, errors) = check(&folder.root().join(name));
        assert_eq!(code, 1, "{name}: {output}{errors}");
        assert!(
            errors.contains(name) || output.contains(name),
            "{name}: {output}{errors}"
        );
        assert!(!errors.contains("panicked"), "{name}: {errors}");
    }
    for name in ["core.wasm", "core.wat"] {
        let (_, output, errors) = check(&folder.root().join(name));
        assert!(
            (output + &errors).contains("component"),
            "{name} is a core module, and says so"
        );
    }
}

fn check(module: &Path) -> (i32, String, String) {
    run(&["check", module.to_str().expect("a plain path")])
}
