//! What a README shows is done: its commands are run, its servers started, its requests sent, and
//! what comes is compared with what it shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchains::succeed;
use crate::support::server::module;
use crate::support::shell::words;
use crate::support::{Folder, Reply, Server};

/// A README, and how its commands are meant here.
pub(super) struct Readme<'a> {
    pub(super) text: String,
    /// The folder that the commands are run in.
    pub(super) folder: &'a Path,
    pub(super) environment: Vec<(&'static str, PathBuf)>,
    /// Commands that are done already, by their beginning.
    pub(super) done: &'a [&'a str],
    /// Where the module of this path is.
    pub(super) locate: &'a dyn Fn(&str) -> PathBuf,
}

impl Readme<'_> {
    /// Returns how many requests were sent.
    pub(super) fn play(&self) -> usize {
        let mut servers: BTreeMap<String, Server> = BTreeMap::new();
        let mut asked = 0;
        for (command, shown) in self.commands() {
            let words = words(command);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match &words[..] {
                ["wasm-pool-host", arguments @ ..] => {
                    let (port, server) = self.serve(arguments);
                    servers.insert(port, server);
                }
                ["cargo", "run", "-q", "--", "--module", arguments @ ..] => {
                    let (port, server) = self.serve(arguments);
                    servers.insert(port, server);
                }
                ["curl", arguments @ ..] => {
                    self.ask(&servers, arguments, &shown);
                    asked += 1;
                }
                _ if self.done.iter().any(|done| command.starts_with(done)) => {}
                _ => self.run(command),
            }
        }
        asked
    }

    /// The commands, each with the lines below it: its output.
    fn commands(&self) -> Vec<(&str, Vec<&str>)> {
        let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
        let mut is_console = false;
        for line in self.text.lines() {
            if line.starts_with("```") {
                is_console = line == "```console";
            } else if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command, Vec::new()));
            } else if let Some((_, shown)) = commands.last_mut().filter(|_| is_console) {
                shown.push(line);
            }
        }
        commands
    }

    fn run(&self, command: &str) {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(command).current_dir(self.folder);
        for (name, value) in &self.environment {
            shell.env(name, value);
        }
        succeed(&mut shell).unwrap_or_else(|error| panic!("{error}"));
    }

    /// The port that the README has, and the server, on another port.
    fn serve(&self, arguments: &[&str]) -> (String, Server) {
        let (file, flags) = arguments.split_first().expect("a module");
        let (mut port, mut others) = ("8080".to_owned(), String::from("--workers 1"));
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let value = flags.next().expect("each flag has a value");
            match *flag {
                "--listen" => port = (*value).to_owned(),
                "--root" => {
                    let root = self.folder.join(value);
                    others += &format!(" --root {}", root.display());
                }
                other => panic!("a flag that this test does not know: {other}"),
            }
        }
        (port, module(&(self.locate)(file), Folder::new(), &others))
    }

    fn ask(&self, servers: &BTreeMap<String, Server>, arguments: &[&str], shown: &[&str]) {
        let (mut method, mut body, mut url, mut status) = ("GET", Vec::new(), "", "200");
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut next = || *arguments.next().expect("something follows");
            match *argument {
                "-i" => {}
                "#" => status = next(),
                "--data" => (method, body) = ("POST", next().as_bytes().to_vec()),
                "--data-binary" => {
                    let file = next().strip_prefix('@').expect("a file");
                    let content = fs::read(self.folder.join(file)).expect("the file");
                    (method, body) = ("POST", content);
                }
                address => url = address,
            }
        }
        let rest = url.strip_prefix("http://127.0.0.1:").expect("an address");
        let (port, path) = rest.split_once('/').expect("a path");
        let reply: Reply = servers[port].request(method, &format!("/{path}"), &[], &body);
        let text = reply.text();
        if shown.is_empty() {
            assert_eq!(reply.status.to_string(), status, "{method} {url}: {text}");
        } else {
            assert_eq!(text.lines().collect::<Vec<_>>(), shown, "{method} {url}");
        }
    }
}
