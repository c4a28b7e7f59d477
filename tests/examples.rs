//! The examples do what their READMEs say. The flags, the requests and the answers below are from
//! the READMEs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use crate::crowds::{RING_ARGS, RING_FLAGS};
use crate::support::form::has_form;
use crate::support::program::run;
use crate::support::server::{guest, serve};
use crate::support::{Folder, Server, eventually, guests};

#[test]
fn hello_answers_as_its_readme_says() {
    let readme = Readme::of("hello");
    let server = readme.serve();
    let (target, expected) = readme.request();
    let reply = server.get(target);
    assert_eq!((reply.status, reply.text().trim_end()), (200, expected));
}

#[test]
fn hello_is_a_dozen_lines() {
    let source = fs::read_to_string(example("hello").join("src/lib.rs")).expect("its source");
    assert!(source.lines().count() <= 12, "{source}");
}

#[test]
fn counter_shares_nothing() {
    // As in its README: two processes, and eight requests at a time. Sends sixteen requests, again
    // and again until both processes have answered.
    let readme = Readme::of("counter");
    let server = readme.serve();
    let mut answers: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let mut total = 0;
    while answers.len() < 2 {
        assert!(total < 10_000, "both processes are used: {answers:?}");
        let together = Barrier::new(8);
        std::thread::scope(|scope| {
            let ask = || {
                let mut client = server.client();
                together.wait();
                [client.get("/"), client.get("/")]
            };
            let clients: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            for reply in clients
                .into_iter()
                .flat_map(|client| client.join().expect("an answer"))
            {
                assert_eq!(reply.status, 200);
                let text = reply.text();
                let digits: String = text.chars().filter(char::is_ascii_digit).collect();
                let count = digits.parse().expect("a count");
                assert!(
                    answers.entry(reply.pid()).or_default().insert(count),
                    "{text} twice from one process"
                );
                total += 1;
            }
        });
    }
    for (pid, counts) in &answers {
        let without_gaps: BTreeSet<u64> = (1..=counts.len() as u64).collect();
        assert_eq!(counts, &without_gaps, "process {pid} counts for itself");
    }
}

#[test]
fn misbehave_answers_as_its_readme_says() {
    let readme = Readme::of("misbehave");
    let server = readme.serve();
    let requests: Vec<(&str, u16)> = readme
        .commands()
        .filter_map(|command| command.strip_prefix("curl -i http://127.0.0.1:8080"))
        .filter_map(|rest| rest.split_once('#'))
        .map(|(target, status)| (target.trim(), status.trim()[..3].parse().expect("a status")))
        .collect();
    assert!(requests.len() >= 2, "{requests:?}");
    for (target, status) in requests {
        assert_eq!(server.get(target).status, status, "{target}");
    }
}

#[test]
fn misbehave_names_every_way() {
    // Each row of the tables: a path, then the client's answer, and the exit in the log.
    let readme = Readme::of("misbehave");
    // A busy machine may be slow, so only the tests of the deadline have a short one.
    let [hasty, patient] = ["1s", "100s"].map(|time| {
        let flags = format!("--workers 2 --request-timeout {time} --memory 32MiB");
        guest("misbehave", &flags)
    });
    let rows = readme
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("| `/"))
        .map(|row| row.split('|').map(str::trim));
    let mut seen = 0;
    for mut row in rows {
        let path = row
            .next()
            .and_then(|cell| cell.split(['?', '`']).next())
            .expect("a path");
        let mut said: Vec<&str> = row.collect();
        said.pop_if(|cell| cell.is_empty()); // behind the last bar
        let is_late = ["spin", "slow", "flood", "long-path"].contains(&path);
        let server = if is_late { &hasty } else { &patient };
        let reply = server.get(&format!("/{path}"));
        let status = reply.status;
        if status >= 500 {
            let entry = server.wait_request(reply.request_id());
            let exit = entry["exit"].as_str().expect("an exit");
            let named = said
                .last()
                .is_some_and(|cell| cell.contains(&format!("`{exit}`")));
            assert!(named, "/{path} ends with {exit}: {said:?}");
        }
        assert!(
            said.iter()
                .any(|cell| cell.contains(&format!("`{status}`"))),
            "/{path} is {status}: {said:?}"
        );
        seen += 1;
    }
    assert!(seen >= 14, "{seen} paths");
}

#[test]
fn singleton_counts_on_a_host_that_is_alone() {
    let server = guest("singleton", "");
    let first = eventually("the counter has its name", || {
        let reply = server.get("/");
        (reply.status == 200).then(|| reply.text().trim().to_owned())
    });
    assert_eq!(first, "1, counted on host 0");
    assert_eq!(server.get("/").text().trim(), "2, counted on host 0");
}

#[test]
fn supervisor_prints_what_its_readme_says() {
    let readme = Readme::of("supervisor");
    let runs = readme.runs();
    assert_eq!(runs.len(), 2);
    for run in runs {
        run.happens();
    }
    assert_eq!(
        run("supervisor", "", &[]).output.matches("crash\n").count(),
        3
    );
    for args in [&["many"][..], &["1", "2"]] {
        assert_eq!(run("supervisor", "", args).code, 2, "{args:?}");
    }
}

#[test]
fn ring_prints_what_its_readme_says() {
    let readme = Readme::of("ring");
    let [small, large] = &readme.runs()[..] else {
        panic!("two runs are shown");
    };
    small.happens();
    // The large ring takes a while, and runs in `crowds`.
    let (flags, args) = (large.flags.join(" "), large.args.join(" "));
    assert_eq!((&*flags, &*args), (RING_FLAGS, RING_ARGS));
    for (flags, args, code) in [
        ("--max-children 5", &["6", "1"][..], 1),
        ("--max-processes 6", &["6", "1"], 1),
        ("", &["6"], 2),
        ("", &["0", "1"], 2),
    ] {
        let ended = run("ring", flags, args);
        assert_eq!((ended.code, &*ended.output), (code, ""), "{flags} {args:?}");
    }
}

#[test]
fn pingpong_prints_what_its_readme_says() {
    let readme = Readme::of("pingpong");
    for run in readme.runs() {
        run.happens();
    }
    assert_eq!(run("pingpong", "", &["x"]).code, 2);
}

#[test]
fn api_answers_as_its_readme_says() {
    let readme = Readme::of("api");
    let server = readme.serve();
    let mut asked = 0;
    for (target, shown) in readme.requests() {
        let reply = server.get(target);
        assert_eq!(reply.text().trim_end(), shown, "{target}");
        assert_eq!(reply.field("content-type"), Some("application/json"));
        asked += 1;
    }
    assert_eq!(asked, 3);
    // The built-in worker does the rest.
    let page = fs::read(example("site").join("index.html")).expect("its index");
    let reply = server.get("/");
    assert_eq!((reply.status, reply.body), (200, page));
    assert_eq!(
        reply_to_range(&server, "/primes.txt"),
        (206, b"2\n3\n".to_vec())
    );
    for (target, status) in [
        ("/numbers", 308),
        ("/.git/config", 404),
        ("/api/words", 404),
        ("/api/lines?file=numbers", 404),
        ("/api/lines?file=..%2FCargo.toml", 404),
    ] {
        assert_eq!(server.get(target).status, status, "{target}");
    }
}

fn reply_to_range(server: &Server, target: &str) -> (u16, Vec<u8>) {
    let reply = server.request("GET", target, &[("range", "bytes=0-3")], b"");
    (reply.status, reply.body)
}

#[test]
fn prefork_answers_as_its_readme_says() {
    let readme = Readme::of("prefork");
    let server = readme.serve();
    let worker = |target| {
        let text = server.get(target).text();
        let pid = text.trim_end().strip_prefix("process ").map(str::parse);
        pid.and_then(Result::ok)
            .unwrap_or_else(|| panic!("no process: {text}"))
    };
    let all = || (0..8).map(|_| worker("/who")).collect::<BTreeSet<u64>>();
    let before = all();
    assert_eq!(before.len(), 8, "{before:?}");
    // The README's pids are those of one run. They show the order of the workers.
    let (mut shown, mut seen) = (Vec::new(), Vec::new());
    for (target, answer) in readme.requests() {
        match target.split_once('#') {
            Some((target, status)) => {
                let reply = server.get(target.trim());
                assert_eq!(reply.status.to_string(), status.trim(), "{target}");
            }
            None => {
                shown.push(answer);
                seen.push(worker(target));
            }
        }
    }
    assert_eq!(shown, ["process 2", "process 3", "process 5"]);
    let in_turn: Vec<u64> = before.iter().copied().collect();
    assert_eq!(seen, [in_turn[0], in_turn[1], in_turn[3]]);
    // Eight requests reach a new worker in place of the worker that crashed.
    let after = all();
    assert_eq!(after.len(), 8, "{after:?}");
    let gone: Vec<u64> = before.difference(&after).copied().collect();
    assert_eq!(gone, [in_turn[2]]);
}

#[test]
fn prefork_serves_the_site() {
    let readme = Readme::of("prefork");
    let server = readme.serve();
    let site = example("site");
    for file in files_below(&site) {
        let name = file.strip_prefix(&site).expect("below the site").display();
        let reply = server.get(&format!("/{name}"));
        assert_eq!(reply.status, 200, "{name}");
        assert!(reply.body == fs::read(&file).expect("a file"), "{name}");
    }
    for (method, target, status) in [
        ("GET", "/", 200),
        ("GET", "/numbers/", 200),
        ("GET", "/numbers", 308),
        ("GET", "/not-there", 404),
        ("GET", "/../Cargo.toml", 403),
        ("POST", "/", 405),
        ("HEAD", "/", 200),
    ] {
        let reply = server.request(method, target, &[], b"");
        assert_eq!(reply.status, status, "{method} {target}: {reply:?}");
    }
}

#[test]
fn site_is_whole() {
    let site = example("site");
    let server = serve(
        Folder::new(),
        &format!("--workers 2 --root {}", site.display()),
    );
    assert_eq!(
        server.get("/").body,
        fs::read(site.join("index.html")).expect("its index")
    );
    let files = files_below(&site);
    assert!(files.len() >= 5, "{files:?}");
    let mut client = server.client();
    for file in &files {
        let target = format!(
            "/{}",
            file.strip_prefix(&site).expect("below the site").display()
        );
        let reply = client.get(&target);
        assert_eq!(reply.status, 200, "{target}");
        assert!(
            reply.body == fs::read(file).expect("a file of the site"),
            "{target}"
        );
    }
    for page in files.iter().filter(|file| {
        file.extension()
            .is_some_and(|extension| extension == "html")
    }) {
        let text = fs::read_to_string(page).expect("a page");
        let links = ["href=\"", "src=\""]
            .into_iter()
            .flat_map(|attribute| text.split(attribute).skip(1));
        for link in links.filter_map(|after| after.split(['"', '#', '?']).next()) {
            if !link.is_empty() && !link.contains(':') {
                let folder = page.parent().expect("a page is in a folder");
                let target = link
                    .strip_prefix('/')
                    .map_or(folder.join(link), |below| site.join(below));
                assert!(target.exists(), "{link} in {}", page.display());
            }
        }
    }
}

/// The commands in an example's README.
struct Readme {
    name: &'static str,
    text: String,
}

impl Readme {
    fn of(name: &'static str) -> Self {
        let text =
            fs::read_to_string(example(name).join("README.md")).expect("each example has a README");
        Self { name, text }
    }

    /// The programs that the README runs, with their output.
    fn runs(&self) -> Vec<Run> {
        let text = self.text.replace("\\\n", " ");
        let (mut runs, mut after): (Vec<Run>, _) = (Vec::new(), After::Nothing);
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let run = command.split_once(" -- run ");
                after = match run {
                    Some(_) => After::Run,
                    None if command == "echo $?" => After::Echo,
                    None => After::Nothing,
                };
                runs.extend(run.map(|(_, rest)| Run::new(self.name, rest)));
            } else if line.starts_with("```") {
                after = After::Nothing;
            } else if let Some(run) = runs.last_mut() {
                match after {
                    After::Run => run.output.push(line.to_owned()),
                    After::Echo => run.code = line.parse().expect("an exit code"),
                    After::Nothing => {}
                }
            }
        }
        runs
    }

    fn commands(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("$ "))
    }

    /// Starts the server with the README's flags.
    fn serve(&self) -> Server {
        let run = |command: &'_ str| {
            let is_run = command.starts_with("cargo run") || command.starts_with("wasm-pool-host");
            let (_, rest) = command.split_once(" --module ").filter(|_| is_run)?;
            let (module, flags) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((module.to_owned(), flags.to_owned()))
        };
        let (module, flags) = self.commands().find_map(run).expect("how to start it");
        assert!(module.ends_with(&format!("{}.wasm", self.name)), "{module}");
        let here = format!("--root {}/", guests::workspace().display());
        guest(self.name, &flags.replace("--root ", &here))
    }

    /// The first request, and the line of its answer.
    fn request(&self) -> (&str, &str) {
        self.requests().next().expect("a request")
    }

    /// The requests, each with the line behind it: its answer, if the README shows the answer. With
    /// `-i`, a comment has the status instead.
    fn requests(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.text.lines();
        lines.clone().zip(lines.skip(1)).filter_map(|(line, next)| {
            let command = line.strip_prefix("$ curl ")?;
            let url = command.strip_prefix("-i ").unwrap_or(command);
            let target = url
                .trim_matches('\'')
                .strip_prefix("http://127.0.0.1:8080")?;
            Some((target, next))
        })
    }
}

/// The command that a line of a README belongs to.
enum After {
    Nothing,
    Run,
    Echo,
}

/// A program that the README runs, and the output that it shows.
struct Run {
    name: &'static str,
    flags: Vec<String>,
    args: Vec<String>,
    output: Vec<String>,
    code: i32,
}

impl Run {
    /// Parses the text behind `run`.
    fn new(name: &'static str, command: &str) -> Self {
        let mut words = command.split_whitespace().map(str::to_owned);
        let module = format!("/{name}.wasm");
        let flags = words.by_ref().take_while(|word| !word.ends_with(&module));
        Self {
            name,
            flags: flags.collect(),
            args: words.skip(1).collect(),
            output: Vec::new(),
            code: 0,
        }
    }

    fn happens(&self) {
        let args: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let ended = run(self.name, &self.flags.join(" "), &args);
        assert_eq!(ended.code, self.code, "{ended:?}");
        let output: Vec<&str> = ended.output.lines().collect();
        assert!(
            has_form(&output, &self.output),
            "{:#?}\nis not\n{:#?}",
            output,
            self.output
        );
    }
}

fn example(name: &str) -> PathBuf {
    guests::workspace().join("examples").join(name)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}
