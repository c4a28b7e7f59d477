//! The *peers*: other servers of files, each configured by somebody who knows the server and this
//! machine. They have a worker per core, no log of requests, and keep connections for as long as
//! clients like. The configurations in `host/bench/peers` say why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::site::{self, Site, Size};
use crate::kernel::cores;
use crate::server::{self, Server};

/// PHP's processes per core.
const PHP_PER_CORE: usize = 4;

/// Apache's processes beyond one for each connection.
const APACHE_SPARE: usize = 4;

/// nginx's connections beyond those of clients: to its listeners, and from php-fpm.
const NGINX_SPARE: usize = 1024;

/// In place of a limit.
const UNLIMITED: &str = "1000000000";

/// Where Debian has Apache's modules.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

/// A program that is installed.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    pub(crate) version: String,
}

impl Program {
    /// Finds a program, and asks for its version, which stands behind the mark in its answer.
    pub(crate) fn find(is_it: impl Fn(&str) -> bool, ask: &str, mark: &str) -> Option<Self> {
        let path = site::program(is_it)?;
        let output = Command::new(&path).arg(ask).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let (_, behind) = said.split_once(mark)?;
        let version = behind.split_whitespace().next()?.to_owned();
        Some(Self { path, version })
    }
}

/// A configuration that is being filled in, and the folder that it is for.
struct Setup<'a> {
    site: &'a Site,
    scratch: TempDir,
    address: std::net::SocketAddr,
    connections: usize,
}

impl<'a> Setup<'a> {
    fn new(site: &'a Site, connections: usize) -> anyhow::Result<Self> {
        Ok(Self {
            site,
            scratch: site::open_folder()?,
            address: server::free_address()?,
            connections,
        })
    }

    /// Fills in the gaps of a configuration, and writes it into the folder.
    fn write(&self, name: &str, text: &str, more: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let nginx_connections = (2 * self.connections + NGINX_SPARE).to_string();
        let common = [
            ("ADDRESS", self.address.to_string()),
            ("ROOT", self.site.root().display().to_string()),
            ("SCRATCH", self.scratch.path().display().to_string()),
            ("CORES", cores().to_string()),
            ("DESCRIPTORS", nginx_connections.clone()),
            ("CONNECTIONS", nginx_connections),
        ];
        let common = common.iter().map(|(key, value)| (*key, value.as_str()));
        let mut text = text.to_owned();
        for (key, value) in common.chain(more.iter().copied()) {
            text = text.replace(&format!("@{key}@"), value);
        }
        let gap = text.lines().find(|line| line.contains('@'));
        ensure!(
            gap.is_none(),
            "{name} has a gap: {}",
            gap.unwrap_or_default()
        );
        let path = self.scratch.path().join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn start(self, commands: Vec<Command>) -> anyhow::Result<Server> {
        Server::start_peer(commands, self.address, self.scratch, Size::Kib1.path())
    }
}

pub(crate) fn nginx(
    nginx: &Program,
    site: &Site,
    connections: usize,
    open_file_cache: &str,
) -> anyhow::Result<Server> {
    let setup = Setup::new(site, connections)?;
    let cache = [("OPEN_FILE_CACHE", open_file_cache)];
    let conf = setup.write("nginx.conf", include_str!("../../peers/nginx.conf"), &cache)?;
    let command = nginx_with(nginx, &conf);
    setup.start(vec![command])
}

fn nginx_with(nginx: &Program, conf: &Path) -> Command {
    let mut command = Command::new(&nginx.path);
    // Until nginx has read its configuration, it writes errors to a file whose path is built in.
    command.args(["-e", "stderr", "-c"]).arg(conf);
    command
}

pub(crate) fn php(
    nginx: &Program,
    fpm: &Program,
    site: &Site,
    connections: usize,
) -> anyhow::Result<Server> {
    let setup = Setup::new(site, connections)?;
    setup.write("file.php", include_str!("../../peers/file.php"), &[])?;
    let conf = setup.write(
        "nginx.conf",
        include_str!("../../peers/nginx-php.conf"),
        &[],
    )?;
    let processes = (cores() * PHP_PER_CORE).to_string();
    let processes = [("PROCESSES", processes.as_str())];
    let pool = setup.write(
        "fpm.conf",
        include_str!("../../peers/php-fpm.conf"),
        &processes,
    )?;
    let mut command = Command::new(&fpm.path);
    command.arg("--nodaemonize").arg("--fpm-config").arg(pool);
    let commands = vec![command, nginx_with(nginx, &conf)];
    setup.start(commands)
}

pub(crate) fn apache(apache: &Program, site: &Site, connections: usize) -> anyhow::Result<Server> {
    let setup = Setup::new(site, connections)?;
    let cgi = setup.scratch.path().join("cgi");
    fs::create_dir(&cgi)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/file.c");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-static", "-Wall", "-Werror", "-o"]);
    let status = cc.arg(cgi.join("file")).arg(source).status();
    let status = status.context("can't run cc, the C compiler")?;
    ensure!(status.success(), "file.c can't be compiled: {status}");

    let processes = (connections + APACHE_SPARE).to_string();
    let fixed = [
        ("PROCESSES", processes.as_str()),
        ("MODULES", APACHE_MODULES),
    ];
    let conf = setup.write(
        "apache.conf",
        include_str!("../../peers/apache.conf"),
        &fixed,
    )?;
    let mut command = Command::new(&apache.path);
    command.arg("-DFOREGROUND").arg("-f").arg(conf);
    Ok(setup.start(vec![command])?.of_many_processes())
}

pub(crate) fn static_web_server(server: &Program, site: &Site) -> anyhow::Result<Server> {
    let setup = Setup::new(site, 0)?;
    let mut command = Command::new(&server.path);
    command.args(["--host", &setup.address.ip().to_string()]);
    command.args(["--port", &setup.address.port().to_string()]);
    command.arg("--root").arg(site.root());
    // The others don't do this to a file, either.
    command.args(["--compression", "false", "--cache-control-headers", "false"]);
    command.args(["--log-level", "error"]);
    setup.start(vec![command])
}

/// Whether `wasmtime serve` makes an instance for each request, as it does by default, or keeps
/// them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instances {
    PerRequest,
    Kept,
}

pub(crate) fn wasmtime(
    wasmtime: &Program,
    component: &Path,
    site: &Site,
    instances: Instances,
) -> anyhow::Result<Server> {
    let setup = Setup::new(site, 0)?;
    let mut command = Command::new(&wasmtime.path);
    command.args(["serve", "-S", "cli", "--addr", &setup.address.to_string()]);
    let mut folder = std::ffi::OsString::from("--dir=");
    folder.push(site.root());
    folder.push("::/");
    command.arg(folder);
    if instances == Instances::Kept {
        command.args(["--max-instance-reuse-count", UNLIMITED]);
        command.args(["--idle-instance-timeout", "3600s"]);
    }
    command.arg(component);
    setup.start(vec![command])
}
