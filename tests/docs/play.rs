//! What a page shows is done: its servers are started, its requests sent, its commands run, one
//! after the other in a folder of the page's own. What comes is compared with what the page shows,
//! but for numbers, times and sizes.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::pages::{Block, Page, Shown};
use crate::admin::admin;
use crate::support::form::{has_form, shape};
use crate::support::guests::{self, workspace};
use crate::support::server::{CACHES, PROGRAM, module, serve};
use crate::support::shell::words;
use crate::support::steer::{json, told};
use crate::support::terminal::Screen;
use crate::support::{Client, Folder, Reply, Server};

/// The port that a server has without `--listen`.
const USUAL_PORT: &str = "8080";

/// Flags whose value is a path. The tests' servers don't run in the page's folder.
const PATHS: &[&str] = &[
    "--config",
    "--module",
    "--root",
    "--core-dumps",
    "--log-file",
    "--env-file",
    "--cache",
    "--tls-cert",
    "--tls-key",
    "--tls-client-ca",
];

/// Commands that ask a running host.
const STEERING: &[&str] = &[
    "status",
    "ps",
    "kill",
    "log-level",
    "reload",
    "scale",
    "drain",
    "trace",
    "drill",
    "stop",
];

/// Commands that end by themselves.
const SHORT: &[&str] = &["run", "check", "config", "new"];

/// The page's folder, and what runs.
pub(super) struct Play<'a> {
    page: &'a Page,
    folder: Folder,
    /// By the port that the page has. The real one is another.
    servers: BTreeMap<String, Server>,
    addresses: BTreeMap<String, SocketAddr>,
    /// The port of the server that was started last.
    last: String,
}

impl<'a> Play<'a> {
    pub(super) fn new(page: &'a Page) -> Self {
        let folder = Folder::new();
        let hello = guests::path("hello");
        let built = hello.parent().expect("it is in a folder");
        let target = folder.path().join("target/guests/wasm32-wasip2");
        fs::create_dir_all(&target).expect("a folder");
        for (there, name) in [
            (built, "target/guests/wasm32-wasip2/guest"),
            (&workspace().join("examples"), "examples"),
            // What readers have, where the guides say "a folder" and "a worker of yours".
            (&workspace().join("examples/site"), "site"),
            (&hello, "hello.wasm"),
        ] {
            symlink(there, folder.path().join(name)).expect("a link");
        }
        Self {
            page,
            folder,
            servers: BTreeMap::new(),
            addresses: BTreeMap::new(),
            last: USUAL_PORT.to_owned(),
        }
    }

    /// Does what a block shows.
    pub(super) fn block(&mut self, block: &Block<'_>) {
        match block.language {
            "toml" => self.write(block),
            "console" => {
                let place = format!("{}:{}", self.page.name, block.line);
                for shown in block.commands() {
                    self.command(&format!("{place}: $ {}", shown.command), &shown);
                }
            }
            _ => {}
        }
    }

    /// Keeps a file that a page shows: its name is the comment in its first line.
    fn write(&self, block: &Block<'_>) {
        let name = block.lines.first().and_then(|line| line.strip_prefix("# "));
        if let Some(name) = name.filter(|name| name.ends_with(".toml")) {
            fs::write(self.folder.path().join(name), block.lines.join("\n")).expect("a file");
        }
    }

    fn command(&mut self, place: &str, shown: &Shown<'_>) {
        let words = words(&shown.command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match &words[..] {
            ["make", "examples"] => assert_eq!(shown.output, examples(), "{place}"),
            ["cargo", "run", "-q", "--", words @ ..]
            | ["cargo", "run", "-q", "--release", "--", words @ ..]
            | ["wasm-pool-host", words @ ..] => self.host(place, words, shown),
            ["curl", words @ ..] => self.ask(place, words, shown),
            _ => panic!("{place}: this test can't run it; give the reason in NOT_RUN if none can"),
        }
    }

    fn host(&mut self, place: &str, words: &[&str], shown: &Shown<'_>) {
        let command = words.first().copied().unwrap_or_default();
        if SHORT.contains(&command) {
            compare(place, &self.run(place, words), shown);
        } else if command == "top" {
            self.look(place, words);
        } else if STEERING.contains(&command) {
            let said = told(self.last(place), &words.join(" "));
            compare(place, &self.relative(&said), shown);
            if command == "stop" {
                let server = self.servers.remove(&self.last);
                assert!(
                    server.expect("it was there").wait_exit().success(),
                    "{place}"
                );
            }
        } else {
            let words = if command == "serve" {
                &words[1..]
            } else {
                words
            };
            let start_line = self.serve(words);
            compare(place, &start_line, shown);
        }
    }

    fn last(&self, place: &str) -> &Server {
        let server = self.servers.get(&self.last);
        server.unwrap_or_else(|| panic!("{place}: no server runs"))
    }

    /// Runs a command that ends by itself. Returns its output.
    fn run(&self, place: &str, words: &[&str]) -> String {
        let mut command = Command::new(PROGRAM);
        command.args(words).current_dir(self.folder.path());
        let output = command.env("XDG_CACHE_HOME", CACHES).output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{place}: {output:?}");
        String::from_utf8(output.stdout).expect("output is text")
    }

    /// Runs `top` in a terminal, until it shows the first pool.
    fn look(&self, place: &str, words: &[&str]) {
        let server = self.last(place);
        let pools = json(server, "status --json");
        let pool = pools["pools"][0]["name"].as_str().expect("a pool");
        let command = format!("exec {PROGRAM} {} --host {}", words.join(" "), server.pid());
        let mut screen = Screen::open(&command, server.folder.path());
        screen.wait(pool);
        screen.press("q");
        let (code, text) = screen.ended();
        assert_eq!(code, 0, "{place}: {text}");
    }

    /// Starts a server, in the place of the one that has its port. Returns its start line.
    fn serve(&mut self, words: &[&str]) -> String {
        let (mut file, mut flags) = (None, String::new());
        let (mut port, mut admin_port) = (USUAL_PORT, None);
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().expect("a value");
            match word {
                "--listen" => port = value().rsplit(':').next().expect("a port"),
                "--admin" => {
                    admin_port = value().rsplit(':').next();
                    flags += " --admin 0";
                }
                "--module" => file = Some(self.folder.path().join(value())),
                flag if PATHS.contains(&flag) => flags += &format!(" {flag} {}", self.at(value())),
                flag if flag.starts_with("--") => flags += &format!(" {flag}"),
                word if self.folder.path().join(word).is_dir() => {
                    flags += &format!(" --root {}", self.at(word));
                }
                word if word.ends_with(".wasm") => file = Some(self.folder.path().join(word)),
                value => flags += &format!(" {value}"),
            }
        }
        drop(self.servers.remove(port));
        let server = match file {
            Some(file) => module(&file, Folder::new(), &flags),
            None => serve(Folder::new(), &flags),
        };
        self.addresses.insert(port.to_owned(), server.address());
        if let Some(port) = admin_port {
            self.addresses.insert(port.to_owned(), admin(&server));
        }
        let start_line = self.relative(&server.start_line);
        self.servers.insert(port.to_owned(), server);
        self.last = port.to_owned();
        start_line
    }

    fn at(&self, path: &str) -> String {
        self.folder.path().join(path).display().to_string()
    }

    /// A text with paths as the page has them, from the page's folder.
    fn relative(&self, text: &str) -> String {
        text.replace(&self.at(""), "")
    }

    /// Sends a request. Without output, the page may say the status in a comment.
    fn ask(&self, place: &str, words: &[&str], shown: &Shown<'_>) {
        let (mut method, mut body, mut status) = ("GET", "", "200");
        let (mut url, mut has_head) = ("", false);
        let mut fields: Vec<(&str, &str)> = Vec::new();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{place}: a value"));
            match word {
                "-i" => has_head = true,
                "-s" => {}
                "-X" => method = value(),
                "-H" => fields.push(value().split_once(": ").expect("a field")),
                "--data" => (method, body) = ("POST", value()),
                "#" => status = value(),
                address if address.starts_with("http://") => url = address,
                other => panic!("{place}: this test doesn't know {other}"),
            }
        }
        let rest = url.strip_prefix("http://127.0.0.1:");
        let rest = rest.unwrap_or_else(|| panic!("{place}: not a server of this page"));
        let (port, path) = rest.split_once('/').expect("a path");
        let address = self.addresses.get(port);
        let address = *address.unwrap_or_else(|| panic!("{place}: nobody listens there"));
        let mut client = Client::connect(address);
        let reply = client.request(method, &format!("/{path}"), &fields, body.as_bytes());
        if shown.output.is_empty() {
            assert_eq!(reply.status.to_string(), status, "{place}: {reply:?}");
        } else {
            compare(place, &text(&reply, has_head), shown);
        }
    }
}

/// What curl prints of a reply.
fn text(reply: &Reply, has_head: bool) -> String {
    if !has_head {
        return reply.text();
    }
    let mut text = format!("HTTP/1.1 {} …\n", reply.status);
    for (name, value) in &reply.fields {
        text += &format!("{name}: {value}\n");
    }
    text + "\n" + &reply.text()
}

/// Compares output with what is shown, if anything is.
fn compare(place: &str, output: &str, shown: &Shown<'_>) {
    let end = shown.output.iter().rposition(|line| !line.is_empty());
    let Some(end) = end else { return };
    let form: Vec<String> = shown.output[..=end]
        .iter()
        .map(|line| plain(line))
        .collect();
    let lines: Vec<String> = output.lines().map(plain).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert!(
        has_form(&lines, &form),
        "{place}\n{output}\nis not what is shown:\n{}",
        shown.output.join("\n")
    );
}

/// The shape of a line. A date is any, and so are the words behind a status.
fn plain(line: &str) -> String {
    let mut words = line.split(' ');
    match (words.next(), words.next()) {
        (Some("date:"), _) => "date:".to_owned(),
        (Some("HTTP/1.1"), Some(status)) => format!("HTTP/1.1 status {status}"),
        _ => shape(line),
    }
}

/// What `make examples` prints, from the command in the Makefile.
fn examples() -> Vec<String> {
    let makefile = fs::read_to_string(workspace().join("Makefile")).expect("a Makefile");
    let makefile = makefile.replace("\\\n", " ");
    let command = makefile.split("--example guests -- ").nth(1);
    let command = command
        .and_then(|rest| rest.lines().next())
        .expect("the command");
    let packages = command.split_whitespace();
    let path = Path::new("target/guests/wasm32-wasip2/guest");
    let modules = packages.map(|package| {
        let file = path.join(package.replace('-', "_")).with_extension("wasm");
        file.display().to_string()
    });
    ["make: building the example workers".to_owned()]
        .into_iter()
        .chain(modules)
        .collect()
}
