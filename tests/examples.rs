//! The examples do what their READMEs say: the flags, the requests and the answers below are read from there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use crate::support::server::{guest, serve};
use crate::support::{Folder, Server, guests};

#[test]
fn hello_answers_as_its_readme_says() {
    let readme = Readme::of("hello");
    let server = readme.serve();
    let (target, expected) = readme.request();
    let mut client = server.client();
    let reply = client.get(&target);
    assert_eq!(reply.status, 200);
    // The port in the README is the one that somebody's client had.
    let (before, after) = expected
        .split_once("127.0.0.1:")
        .expect("the client's address");
    let after = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
    assert_eq!(
        reply.text().trim_end(),
        format!("{before}{}{after}", client.local_address())
    );
}

#[test]
fn hello_is_a_dozen_lines() {
    let source = fs::read_to_string(example("hello").join("src/lib.rs")).expect("its source");
    assert!(source.lines().count() <= 12, "{source}");
}

#[test]
fn counter_shares_nothing() {
    // As its README has it: two processes, sixteen requests, eight at a time. Everybody asks again until
    // both processes had something to do.
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
    // Each row of its tables: a path, then what the client gets, and the exit in the log.
    let readme = Readme::of("misbehave");
    let server = guest(
        "misbehave",
        "--workers 2 --request-timeout 1s --memory 32MiB",
    );
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
        let said: Vec<&str> = row.collect();
        let status = server.get(&format!("/{path}")).status;
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

/// What an example's README tells a reader to type.
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

    fn commands(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("$ "))
    }

    /// Starts the server with the flags that are told.
    fn serve(&self) -> Server {
        let run = |command: &'_ str| {
            let is_run = command.starts_with("cargo run") || command.starts_with("wasm-pool-host");
            let (_, rest) = command.split_once(" --module ").filter(|_| is_run)?;
            let (module, flags) = rest.split_once(' ').unwrap_or((rest, ""));
            Some((module.to_owned(), flags.to_owned()))
        };
        let (module, flags) = self.commands().find_map(run).expect("how to start it");
        assert!(module.ends_with(&format!("{}.wasm", self.name)), "{module}");
        guest(self.name, &flags)
    }

    /// The first plain request, and the line that is shown as its answer.
    fn request(&self) -> (String, &str) {
        let mut lines = self.text.lines();
        let target = lines
            .find_map(|line| line.strip_prefix("$ curl http://127.0.0.1:8080"))
            .expect("a request");
        (target.to_owned(), lines.next().expect("an answer"))
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
