//! The configuration: where a value comes from, and what is said of one that can't be used.

use std::fs;
use std::process::Command;

use crate::support::guests;
use crate::support::server::{PROGRAM, outcome};
use crate::support::tls::Authority;

/// The exit code and the output of the program, run in a folder with this configuration. Each
/// `NAME=VALUE` in front of the arguments is a variable.
fn run(config: &str, arguments: &str) -> (i32, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("host.toml"), config).expect("a configuration");
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder.path());
    let is_variable = |word: &&str| word.starts_with("WASM_POOL_HOST_");
    for variable in arguments.split_whitespace().take_while(is_variable) {
        let (name, value) = variable.split_once('=').expect("NAME=VALUE");
        command.env(name, value);
    }
    command.args(arguments.split_whitespace().skip_while(is_variable));
    outcome(&mut command)
}

#[test]
fn flags_come_before_variables_before_the_file() {
    let config = r#"
memory = "8MiB"
max-requests = 8
queue = 8
reuse = true
env = ["A=top"]

[[pool]]
name = "one"
max-requests = 4
queue = 4
reuse = false
env = { A = "pool", B = "1" }
module = "./one.wasm"

[[pool]]
name = "two"
routes = ["/two/*"]
"#;
    let shown = |arguments: &str| {
        let (code, text) = run(config, arguments);
        assert_eq!(code, 0, "{text}");
        text
    };
    for (arguments, lines) in [
        (
            "config show --config host.toml",
            &[
                "memory = \"8MiB\" # host.toml:2",
                "max-requests = 4 # host.toml:10",
                "max-requests = 8 # host.toml:3",
                "reuse = false # host.toml:12",
                "reuse = true # host.toml:5",
                "env = [\"A=pool\", \"B=1\"] # host.toml:13",
                "env = [\"A=top\"] # host.toml:6",
                "module = \"./one.wasm\" # host.toml:14",
                "request-timeout = \"30s\" # default",
                "routes = [\"/two/*\"]",
                "routes = [\"/*\"]",
            ][..],
        ),
        (
            "WASM_POOL_HOST_QUEUE=2 WASM_POOL_HOST_REUSE=1 config show --config host.toml --queue 1",
            &["queue = 1 # --queue", "reuse = true # WASM_POOL_HOST_REUSE"],
        ),
        (
            "WASM_POOL_HOST_CONFIG=host.toml WASM_POOL_HOST_QUEUE=2 config show",
            &["queue = 2 # WASM_POOL_HOST_QUEUE"],
        ),
        (
            "WASM_POOL_HOST_QUEUE=2 config show --memory 1MiB",
            &[
                "queue = 2 # WASM_POOL_HOST_QUEUE",
                "memory = \"1MiB\" # --memory",
            ],
        ),
    ] {
        let text = shown(arguments);
        for line in lines {
            let found = text.lines().any(|other| other == *line);
            assert!(found, "{arguments}: {line} in\n{text}");
        }
    }
    let covered = shown("config show --config host.toml --queue 1");
    assert_eq!(
        covered.matches("queue = 1 # --queue").count(),
        2,
        "{covered}"
    );
}

#[test]
fn what_is_shown_is_a_file_with_the_same_effect() {
    let config = "memory = \"8MiB\"\nenv = [\"A=\\\"b\\\\\"]\n[[pool]]\nname = \"a\"\nstrip-prefix = true\n\
                  routes = [\"/a/*\"]\n[[pool]]\nname = \"b\"\nqueue = 3\n";
    let values = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or_default().to_owned());
        lines.collect()
    };
    let (_, shown) = run(config, "config show --config host.toml --grace 3s");
    let (code, again) = run(&shown, "config show --config host.toml");
    assert_eq!(code, 0, "{again}");
    assert_eq!(values(&shown), values(&again));
}

#[test]
fn what_is_shown_is_what_the_role_has() {
    let config = "nats = [\"nats://a\", \"tls://b:1\"]\nname = \"one\"\n";
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("both", &["listen", "memory", "queue"], &[]),
        ("front", &["listen", "queue"], &["memory", "mode"]),
        ("worker", &["memory", "queue"], &["listen"]),
    ];
    for (role, has, lacks) in cases {
        let flags = format!("config show --config host.toml --role {role} --queue 3");
        let (code, shown) = run(config, &flags);
        assert_eq!(code, 0, "{shown}");
        let is_shown = |name: &&&str| {
            let line = format!("{name} = ");
            shown.lines().any(|other| other.starts_with(&line))
        };
        for name in has.iter().chain(&["nats", "name", "role"]) {
            assert!(is_shown(&name), "{role}: {name} in\n{shown}");
        }
        assert_eq!(lacks.iter().find(is_shown), None, "{role}: {shown}");
        assert!(
            shown.contains("nats = [\"nats://a\", \"tls://b:1\"] # host.toml:1"),
            "{shown}"
        );
        let (code, again) = run(&shown, "config check host.toml");
        assert_eq!(code, 0, "{again}");
    }
}

#[test]
fn a_file_is_checked_without_being_served() {
    let hello = guests::path("hello");
    let config = format!(
        "[[pool]]\nname = \"a\"\nmodule = {hello:?}\nroutes = [\"/a/*\"]\n[[pool]]\nname = \"b\"\n"
    );
    let (code, text) = run(&config, "config check host.toml");
    assert_eq!(
        (code, &*text),
        (
            0,
            &*format!(
                "host.toml can be used\na: /a/* · module {}\nb: /* · module built-in\n",
                hello.display()
            )
        )
    );
}

#[test]
fn what_a_file_names_is_looked_at() {
    let (authority, others) = (Authority::new(), Authority::new());
    let (pair, other) = (authority.certify(&["one"]), others.certify(&["other"]));
    let tls = |certificate: String, key: String| {
        format!("grace = 1\ntls-cert = {certificate:?}\ntls-key = {key:?}")
    };
    let (code, text) = run(
        &tls(pair.certificate(), pair.key()),
        "config check host.toml",
    );
    assert_eq!(code, 0, "{text}");
    for (config, message) in [
        (
            "root = \"/missing\"".to_owned(),
            "host.toml:1: --root /missing: can't open this folder: No such file",
        ),
        (
            "module = \"none.wasm\"".to_owned(),
            "module none.wasm: No such file",
        ),
        (
            "module = \"host.toml\"".to_owned(),
            "module host.toml: this is",
        ),
        (
            tls("/missing.pem".to_owned(), pair.key()),
            "host.toml:2: --tls-cert: /missing.pem: No such file",
        ),
        (
            tls(pair.certificate(), other.key()),
            "the key is not the one of",
        ),
        (
            "user = \"no-such-user\"".to_owned(),
            "host.toml:1: --user: there is no user no-such-user",
        ),
    ] {
        let (code, text) = run(&config, "config check host.toml");
        assert_eq!(code, 2, "{config}\n{text}");
        assert!(text.contains(message), "{message} in\n{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (config, message) in [
        (
            "memroy = \"1MiB\"",
            "host.toml:1: unknown key memroy; perhaps memory was meant",
        ),
        (
            "\n\nmemory = \"much\"",
            "host.toml:3: memory \"much\": give a size such as 64MiB or 500KB",
        ),
        (
            "memory = 1.5",
            "host.toml:1: memory: give a text or a whole number",
        ),
        (
            "memory = \"1KiB\"",
            "host.toml:1: --memory 1.0 KiB: must be from 64.0 KiB to 4.0 GiB",
        ),
        (
            "mode = \"pol\"",
            "host.toml:1: mode \"pol\": give one of pool, per-request, single",
        ),
        (
            "workers = \"3..2\"",
            "host.toml:1: workers \"3..2\": MIN 3 is more than MAX 2",
        ),
        ("reuse = \"yes\"", "host.toml:1: reuse: give true or false"),
        (
            "env = 3.0",
            "host.toml:1: env: give a text, or a list of texts",
        ),
        (
            "queue = [1, 2]",
            "host.toml:1: queue: give a text or a whole number",
        ),
        ("x = ", "host.toml:1: "),
        ("a = 1\na = 2", "host.toml:"),
        ("config = \"other.toml\"", "host.toml:1: unknown key config"),
        ("pool = 3", "host.toml:1: write [[pool]], with two brackets"),
        (
            "[pool]\nname = \"a\"",
            "host.toml:1: write [[pool]], with two brackets",
        ),
        (
            "name = \"a\"",
            "host.toml:1: --name: this is the name of a host, and needs --nats; a pool's name belongs below [[pool]]",
        ),
        ("[[pool]]", "host.toml:1: this pool has no name"),
        (
            "[[pool]]\nname = \"a b\"",
            "host.toml:2: name: give letters, digits, - and _",
        ),
        (
            "[[pool]]\nname = \"a\"\nlisten = 1",
            "host.toml:3: listen is for the whole host",
        ),
        (
            "[[pool]]\nname = \"a\"\nroute = []",
            "host.toml:3: unknown key route; perhaps routes was meant",
        ),
        (
            "[[pool]]\nname = \"a\"\nroutes = []",
            "host.toml:3: routes: give a list of routes",
        ),
        (
            "[[pool]]\nname = \"a\"\nroutes = [\"api\"]",
            "host.toml:3: route \"api\": it has no path; give [HOST]/PATH",
        ),
        (
            "[[pool]]\nname = \"a\"\nstrip-prefix = 1",
            "host.toml:3: strip-prefix: give true or false",
        ),
        (
            "[[pool]]\nname = \"a\"\n[[pool]]\nname = \"a\"",
            "host.toml:3: there are two pools \"a\"",
        ),
        (
            "[[pool]]\nname = \"a\"\n[[pool]]\nname = \"b\"\nroutes = [\"/b\",\n\"/*\"]",
            "host.toml:5: pool a has the route /* already",
        ),
        (
            "[[pool]]\nname = \"a\"\nmode = \"single\"\nworkers = 2",
            "host.toml:4: --workers: this has no meaning with --mode single",
        ),
        ("cluster = \"a\"", "host.toml:1: --cluster: needs --nats"),
        (
            "nats = \"nats://a\"\ncluster = \"A\"",
            "host.toml:2: cluster \"A\": give a name of 1 to 32 small letters",
        ),
        (
            "nats = \"nats://a\"\nrole = \"front\"\n[[pool]]\nname = \"a\"",
            "host.toml:2: --role front: a front has no pools",
        ),
        (
            "nats = \"nats://a\"\nrole = \"front\"\nmodule = \"a.wasm\"",
            "host.toml:3: --module: a front has no module",
        ),
        (
            "nats = \"nats://a\"\nrole = \"worker\"\nlisten = 1",
            "host.toml:3: --listen: a worker listens nowhere",
        ),
        (
            "[[pool]]\nname = \"a\"\nnats = \"nats://a\"",
            "host.toml:3: nats is for the whole host",
        ),
    ] {
        for command in [
            "config check host.toml",
            "config show --config host.toml",
            "serve --config host.toml",
        ] {
            if command.starts_with("config show") && message.contains(": --") {
                continue; // it shows what can't be used, too
            }
            let (code, text) = run(config, command);
            assert_eq!(code, 2, "{command}: {config}\n{text}");
            assert!(text.contains(message), "{command}: {message} in\n{text}");
        }
    }
    for (arguments, message) in [
        (
            "--config none.toml",
            "--config none.toml: No such file or directory",
        ),
        ("--config .", "--config .: "),
        (
            "WASM_POOL_HOST_MEMROY=1 --root .",
            "WASM_POOL_HOST_MEMROY: there is no flag --memroy; perhaps WASM_POOL_HOST_MEMORY was meant",
        ),
        (
            "WASM_POOL_HOST_MEMORY=x --root .",
            "WASM_POOL_HOST_MEMORY: x: give a size",
        ),
        (
            "WASM_POOL_HOST_REUSE=x --root .",
            "WASM_POOL_HOST_REUSE: give true or false",
        ),
        (
            "WASM_POOL_HOST_MEMORY=1KiB --root .",
            "WASM_POOL_HOST_MEMORY: --memory 1.0 KiB: must be",
        ),
    ] {
        let (code, text) = run("", arguments);
        assert_eq!(code, 2, "{arguments}\n{text}");
        assert!(text.contains(message), "{arguments}: {message} in\n{text}");
    }
}
