//! `bench` measures everything that it promises, writes the results to the requested files, and
//! leaves nothing behind. Its speed is not tested.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::door::Address;
use crate::support::server::{PROGRAM, command};
use crate::support::{Client, Folder, eventually, guests};

const STRUCTURINGS: [&str; 5] = ["single", "per-request", "pool", "threads", "fork-exec"];

/// The shortest run. It tests the same code.
const SHORT: &str = "--time 100ms --rounds 1 --connections 4";

#[test]
fn everything_is_measured_and_shown() {
    let folder = Folder::new().file("file", "content");
    let out = |name: &str| folder.outside().join(name);
    let files = format!(
        "--json {} --svg {} --html {}",
        out("json").display(),
        out("svg").display(),
        out("html").display()
    );
    let output = bench(&folder, &format!("{SHORT} --path /file {files}"));
    let (code, table, errors) = parts(&output);
    assert_eq!(code, 0, "{errors}");
    // Without a terminal there is no bar, but a line for each turn.
    let turns: Vec<_> = errors.lines().collect();
    assert_eq!(turns.len(), 2 + 3 * STRUCTURINGS.len(), "{errors}");
    for (at, turn) in turns.iter().enumerate() {
        let begin = format!("bench: {} of {}: ", at + 1, turns.len());
        assert!(turn.starts_with(&begin), "{errors}");
    }
    assert!(
        turns
            .iter()
            .any(|turn| turn.ends_with("pool under load, round 1")),
        "{errors}"
    );
    for shown in STRUCTURINGS.into_iter().chain([
        "receive",
        "create or hand over",
        "file RPC",
        "requests per second",
        "p99.9",
        "KiB",
        "never",
    ]) {
        assert!(table.contains(shown), "{shown} in\n{table}");
    }
    for line in table.lines() {
        assert!(line.chars().count() <= 100, "too long: {line}");
    }

    let json = fs::read_to_string(out("json")).expect("a file with JSON");
    judge(&serde_json::from_str(&json).expect("valid JSON"), 4);

    assert!(table.contains("one round does not say"), "{table}");

    let svg = fs::read_to_string(out("svg")).expect("an image");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    let html = fs::read_to_string(out("html")).expect("a page");
    for text in [&svg, &html] {
        for name in STRUCTURINGS {
            assert!(text.contains(name), "{name}");
        }
        for elsewhere in ["href=", "src=", "@import", "url("] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
    }
    assert!(html.contains("<svg") && html.contains("</table>") && html.contains("bench --"));
}

#[test]
fn any_handler_can_be_measured_and_json_can_be_all_there_is() {
    let module = guests::path("misbehave");
    let path = "/ok?a=1&b";
    let flags = format!("{SHORT} --module {} --path {path} --json", module.display());
    let (code, json, errors) = parts(&bench(&Folder::new(), &flags));
    assert_eq!(code, 0, "{errors}");
    let figures: Value = serde_json::from_str(&json).expect("JSON and nothing else");
    judge(&figures, 4);
    assert_eq!(figures["setup"]["module"], module.display().to_string());
    assert_eq!(figures["setup"]["body_bytes"], "ok\n".len());
    let command = figures["command"].as_str().expect("text");
    assert!(command.contains("--path '/ok?a=1&b' --json"), "{command}");
}

#[test]
fn rounds_that_overlap_have_no_order() {
    let folder = Folder::new().file("index.html", "home");
    let json = folder.outside().join("json");
    let flags = format!(
        "--time 100ms --rounds 2 --connections 4 --json {}",
        json.display()
    );
    let (code, table, errors) = parts(&bench(&folder, &flags));
    assert_eq!(code, 0, "{errors}");
    let json = fs::read_to_string(json).expect("a file with JSON");
    let figures: Value = serde_json::from_str(&json).expect("valid JSON");
    let rate = |one: &str, part: &str| {
        let rate = &entry(&figures, one, "under load")["requests_per_second"];
        rate[part].as_f64().expect("a number")
    };
    let mut measured = STRUCTURINGS;
    measured.sort_by(|one, other| rate(one, "median").total_cmp(&rate(other, "median")));
    for pair in measured.windows(2) {
        let [one, next] = [pair[0], pair[1]];
        let overlap = rate(one, "highest") >= rate(next, "lowest");
        let shown = table.contains(&format!("{one}, {next}"));
        assert_eq!(shown, overlap, "{table}\n{json}");
    }
}

#[test]
fn memory_is_measured_with_as_many_processes_as_there_are_descriptors_for() {
    // More descriptors than a default pool needs with four files per process, but fewer than
    // hundreds of processes need.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let descriptors = 620 + cores * 32 * 6;
    let folder = Folder::new().file("index.html", "home");
    let output = Command::new("sh")
        .args([
            "-c",
            &format!("ulimit -n {descriptors} && exec \"$0\" bench \"$@\""),
        ])
        .arg(PROGRAM)
        .args(SHORT.split_whitespace())
        .args(["--max-open-files", "4", "--json", "--root"])
        .arg(folder.root())
        .output()
        .expect("a shell");
    let (code, json, errors) = parts(&output);
    assert_eq!(code, 0, "{errors}");
    judge(&serde_json::from_str(&json).expect("JSON"), 4);
}

/// Checks that these figures are complete, and have the properties that hold on every machine.
fn judge(figures: &Value, connections: u64) {
    assert_eq!(figures["setup"]["connections"], connections);
    assert_eq!(figures["not_measured"], Value::Array(Vec::new()));
    for name in STRUCTURINGS {
        let of = |case| entry(figures, name, case);
        let median = |case, quantity: &str| of(case)[quantity]["median"].as_f64();
        for (case, quantity) in [
            ("under load", "requests_per_second"),
            ("under load", "requests"),
            ("under load", "latency_p50_ms"),
            ("memory", "memory_kib"),
            ("step by step", "receive_us"),
            ("step by step", "hand_over_us"),
            ("step by step", "run_us"),
            ("step by step", "reply_us"),
        ] {
            let value = median(case, quantity);
            assert!(value > Some(0.0), "{name}, {quantity}: {}", of(case));
        }
        let latency = |share| median("under load", &format!("latency_{share}_ms"));
        assert!(latency("p50") <= latency("p99"), "{name}");
        assert!(latency("p99") <= latency("p99_9"), "{name}");

        let crash = |quantity| median("at a crash", quantity);
        let all = crash("others").expect("a number");
        assert!(all > 0.0);
        if name == "threads" {
            assert_eq!(crash("others_lost"), Some(all));
            assert_eq!(crash("connections_lost"), Some(all + 1.0));
            assert_eq!(crash("answers_again_ms"), None);
        } else {
            assert_eq!(crash("others_lost"), Some(0.0), "{name}");
            assert_eq!(crash("connections_lost"), Some(0.0), "{name}");
            assert!(crash("answers_again_ms") > Some(0.0), "{name}");
        }
    }
}

/// The figures of a structuring in a case.
fn entry<'a>(figures: &'a Value, name: &str, case: &str) -> &'a Value {
    let mut entries = figures["entries"].as_array().expect("a list").iter();
    let entry = entries.find(|entry| entry["contestant"] == name && entry["case"] == case);
    entry.expect("an entry")
}

#[test]
fn bad_values_are_refused() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("--connections", "--connections 0"),
        ("--connections", "--connections 1001"),
        ("--connections", "--connections many"),
        ("--rounds", "--rounds 0"),
        ("--rounds", "--rounds 101"),
        ("--time", "--time 0s"),
        ("--time", "--time soon"),
        ("--path", "--path file"),
        ("--path", "--path /a#b"),
        ("--memory", "--memory 1"),
        ("--no-such-flag", "--no-such-flag"),
    ];
    for (named, flags) in cases {
        let (code, output, errors) = parts(&bench(&Folder::new(), flags));
        assert_eq!((code, output.as_str()), (2, ""), "{flags}: {errors}");
        assert!(errors.contains(named), "{flags}: {errors}");
    }
}

#[test]
fn what_can_not_be_measured_says_why() {
    let [counter, ring] = ["counter", "ring"].map(|name| guests::path(name).display().to_string());
    let cases = [
        ("--path /missing".to_owned(), "status 404"),
        (format!("--module {counter}"), "another body"),
        (format!("--module {ring}"), "exports `run`"),
        ("--module /missing.wasm".to_owned(), "/missing.wasm"),
        ("--root /missing".to_owned(), "--root /missing"),
        ("--memory 64KiB".to_owned(), "pool: it did not start"),
        (
            "--max-open-files 1000000".to_owned(),
            "--max-open-files together need",
        ),
    ];
    for (flags, reason) in cases {
        let folder = Folder::new().file("index.html", "home");
        let kept = folder.outside().join("kept");
        fs::write(&kept, "of last time").expect("a file");
        let new = folder.outside().join("new");
        let files = format!("--svg {} --html {}", kept.display(), new.display());
        let (code, output, errors) = parts(&bench(&folder, &format!("{SHORT} {files} {flags}")));
        assert_eq!((code, output.as_str()), (1, ""), "{flags}: {errors}");
        assert!(errors.contains(reason), "{flags}: {errors}");
        for flag in errors.split(|letter: char| !(letter.is_alphanumeric() || letter == '-')) {
            let is_flag = flag.starts_with("--") && flag.len() > 2;
            let given = format!("{SHORT} {files} {flags} --root");
            let is_given = given.split_whitespace().any(|word| word == flag);
            assert!(!is_flag || is_given, "{flag} was not given: {errors}");
        }
        let content = fs::read_to_string(&kept).expect("the file is still there");
        assert_eq!(content, "of last time");
        assert!(!new.exists(), "no empty file is left");
    }
}

#[test]
fn files_that_can_not_be_written_fail_before_anything_is_measured() {
    for flag in ["--json", "--svg", "--html"] {
        // The root doesn't exist either, but that error would come later.
        let flags = format!("--root /missing {flag} /missing/file");
        let (code, output, errors) = parts(&bench(&Folder::new(), &flags));
        assert_eq!((code, output.as_str()), (1, ""), "{flags}: {errors}");
        assert!(errors.contains(flag), "{errors}");
        assert!(errors.contains("/missing/file"), "{errors}");
    }
}

#[test]
fn a_server_that_dies_is_named() {
    let folder = Folder::new().file("index.html", "home");
    let mut bench = bench_command(&folder, "--time 1h --json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    eventually("it ends", || {
        for server in children(&bench) {
            let pid = server
                .file_name()
                .and_then(|name| name.to_str()?.parse().ok());
            let pid = pid.and_then(Pid::from_raw).expect("a pid");
            // The server may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
        }
        bench.try_wait().expect("a child's status")
    });
    let output = bench.wait_with_output().expect("what it said");
    let (code, output, errors) = parts(&output);
    assert_eq!((code, output.as_str()), (1, ""), "{errors}");
    let named = STRUCTURINGS
        .iter()
        .any(|name| errors.contains(&format!(": {name}: ")));
    assert!(named, "{errors}");
}

#[test]
fn whatever_ends_it_ends_its_servers() {
    for (signal, code) in [
        (Signal::INT, Some(130)),
        (Signal::TERM, Some(143)),
        (Signal::KILL, None),
    ] {
        let folder = Folder::new().file("index.html", "home");
        let temporary = folder.path().join("temporary");
        fs::create_dir(&temporary).expect("a folder");
        let mut bench = bench_command(&folder, "--time 1h")
            .env("TMPDIR", &temporary)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let server = eventually("a server runs", || children(&bench).pop());
        kill_process(Pid::from_child(&bench), signal).expect("it runs, and takes a signal");
        let status = eventually("it ends", || bench.try_wait().expect("a child's status"));
        assert_eq!(status.code(), code);
        eventually("its server ends", || (!server.exists()).then_some(()));
        if code.is_some() {
            let left = fs::read_dir(&temporary).expect("the folder").count();
            assert_eq!(left, 0, "temporary files are removed");
        }
    }
}

#[test]
fn servers_say_what_their_steps_took() {
    const REQUESTS: u64 = 5;
    for mode in STRUCTURINGS[..3].iter() {
        let folder = Folder::new()
            .file("small", "content")
            .file("large", vec![b'x'; 200_000]);
        let flags = format!("--steps --mode {mode}");
        let mut child = command(None, &folder.root(), &flags)
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let output = child.stdout.take().expect("standard output is piped");
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).expect("a start line");
        let mut client = Client::connect(Address::of(&line).expect("an address"));
        for _ in 0..REQUESTS {
            assert_eq!(client.get("/small").status, 200);
            assert_eq!(client.get("/large").body.len(), 200_000);
        }
        drop(client);
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs, and takes a signal");
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("text");
        assert!(child.wait().expect("a child's status").success());
        assert_eq!(rest.lines().count(), 1, "{rest}");
        let steps: Value = serde_json::from_str(&rest).expect("a line of JSON");
        let count = |step: &str| steps[step]["count"].as_u64().expect("a number");
        assert_eq!(count("receive"), 2 * REQUESTS);
        assert_eq!(count("hand_over"), 4 * REQUESTS, "taken and given back");
        assert_eq!(count("run"), 2 * REQUESTS);
        assert_eq!(count("reply"), 2 * REQUESTS);
        assert!(count("files") >= 4 * REQUESTS, "open, read");
        for step in ["receive", "hand_over", "run", "files", "reply"] {
            assert!(steps[step]["nanoseconds"].as_u64() > Some(0), "{steps}");
        }
    }
}

#[test]
fn programs_have_no_steps() {
    let module = guests::path("prefork");
    let flags = ["--steps", "--listen", "127.0.0.1:0", "--module"];
    let output = Command::new(PROGRAM).args(flags).arg(module).output();
    let (code, output, errors) = parts(&output.expect("the program runs"));
    assert_eq!((code, output.as_str()), (2, ""), "{errors}");
    assert!(errors.contains("--steps"), "{errors}");
}

fn bench(folder: &Folder, flags: &str) -> Output {
    bench_command(folder, flags)
        .output()
        .expect("the program runs")
}

/// The root is this folder, unless the flags name another.
fn bench_command(folder: &Folder, flags: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("bench").args(flags.split_whitespace());
    if !flags.contains("--root") {
        command.arg("--root").arg(folder.root());
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The exit code, standard output and standard error.
fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is text");
    (
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The kernel's folders of this process's children.
fn children(parent: &Child) -> Vec<PathBuf> {
    let is_child = |folder: &Path| {
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let ppid = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        ppid.is_some_and(|ppid| ppid.trim() == parent.id().to_string())
    };
    let entries = fs::read_dir("/proc").expect("the kernel's list of processes");
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    folders.filter(|folder| is_child(folder)).collect()
}
