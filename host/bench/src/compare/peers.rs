//! The *peers*: other file servers, each configured by an expert in the server and for this
//! machine. They have a worker per core, don't log requests, and keep connections for as long as
//! clients want. The configurations in `host/bench/peers` give the reasons.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use wasm_pool_guest_build::workspace;

use super::doors::Identity;
use super::matrix::TARGET_CONNECTIONS;
use super::site::{KIB_1, Site, open_folder};
use crate::beam::Beam;
use crate::kernel::cores;
use crate::server::{self, Server};

const NGINX_CONF: &str = include_str!("../../peers/nginx.conf");

/// PHP's processes per core.
const PHP_PER_CORE: usize = 4;

/// Apache's processes beyond one for each connection.
const APACHE_SPARE: usize = 4;

/// nginx's connections in addition to those of clients: to its listeners, and from php-fpm.
const NGINX_SPARE: usize = 1024;

/// The folder of Apache's modules on Debian.
const APACHE_MODULES: &str = "/usr/lib/apache2/modules";

/// The installed peers, and the component that wasmtime runs.
#[derive(Default)]
pub(crate) struct Peers {
    pub(crate) component: PathBuf,
    pub(crate) nginx: Option<Program>,
    pub(crate) h2load: Option<Program>,
    pub(crate) nats: Option<Program>,
    pub(crate) fpm: Option<Program>,
    pub(crate) apache: Option<Program>,
    pub(crate) static_web_server: Option<Program>,
    pub(crate) wasmtime: Option<Program>,
    pub(crate) beam: Option<Beam>,
}

/// An installed program.
pub(crate) struct Program {
    path: PathBuf,
    version: String,
}

impl Peers {
    /// # Errors
    /// If Erlang is installed, and what is here for it can't be compiled.
    pub(crate) fn find(component: &Path) -> anyhow::Result<Self> {
        let find = |name: &str, ask, mark| Program::find(|file| file == name, ask, mark);
        Ok(Self {
            component: component.to_owned(),
            nginx: find("nginx", "-v", "nginx/"),
            nats: find("nats-server", "--version", "nats-server: v"),
            h2load: find("h2load", "--version", "nghttp2/"),
            // Debian adds PHP's version to the name.
            fpm: Program::find(|file| file.starts_with("php-fpm"), "-v", "PHP "),
            apache: find("apache2", "-v", "Apache/"),
            static_web_server: find("static-web-server", "--version", "Version:"),
            wasmtime: find("wasmtime", "--version", "wasmtime "),
            beam: Beam::find()?,
        })
    }

    /// Each program's version; nothing if it isn't installed.
    pub(crate) fn versions(&self) -> Value {
        let version = |program: &Option<Program>| program.as_ref().map(|one| one.version.clone());
        json!({
            "nginx": version(&self.nginx),
            "h2load": version(&self.h2load),
            "nats-server": version(&self.nats),
            "php-fpm": version(&self.fpm),
            "apache": version(&self.apache),
            "static-web-server": version(&self.static_web_server),
            "wasmtime": version(&self.wasmtime),
            "BEAM": self.beam.as_ref().map(|beam| &beam.name),
        })
    }
}

impl Program {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a program and asks for its version, which follows the mark in its answer. Looks first
    /// at built peers, then on the path, and then in the folders of Debian's programs for
    /// administrators.
    fn find(is_it: impl Fn(&str) -> bool, ask: &str, mark: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let built = workspace().join("target/peers/bin");
        let folders = [built].into_iter().chain(std::env::split_paths(&path));
        let folders = folders.chain([PathBuf::from("/usr/sbin")]);
        let mut files = folders.flat_map(fs::read_dir).flatten().flatten();
        let file = files.find(|file| file.file_name().to_str().is_some_and(&is_it))?;
        let output = Command::new(file.path()).arg(ask).output().ok()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let (_, behind) = said.split_once(mark)?;
        Some(Self {
            path: file.path(),
            version: behind.split_whitespace().next()?.to_owned(),
        })
    }
}

/// The values for the gaps of a configuration, and the folder for the result.
struct Setup<'a> {
    site: &'a Site,
    scratch: TempDir,
    address: SocketAddr,
    connections: usize,
}

impl<'a> Setup<'a> {
    fn new(site: &'a Site, connections: usize) -> anyhow::Result<Self> {
        Ok(Self {
            site,
            scratch: open_folder()?,
            address: server::free_address()?,
            connections,
        })
    }

    /// Fills in the gaps of a configuration and writes it into the folder.
    fn write(&self, name: &str, text: &str, more: &[(&str, &str)]) -> anyhow::Result<PathBuf> {
        let nginx_connections = (2 * self.connections + NGINX_SPARE).to_string();
        let gaps = [
            ("ADDRESS", self.address.to_string()),
            ("ROOT", self.site.root().display().to_string()),
            ("SCRATCH", self.scratch.path().display().to_string()),
            ("CORES", cores().to_string()),
            ("DESCRIPTORS", nginx_connections.clone()),
            ("CONNECTIONS", nginx_connections),
            ("MODULES", APACHE_MODULES.into()),
        ];
        let gaps = gaps.iter().map(|(gap, value)| (*gap, value.as_str()));
        let fill =
            |text: String, (gap, value): (&str, &str)| text.replace(&format!("@{gap}@"), value);
        let path = self.scratch.path().join(name);
        let text = gaps.chain(more.iter().copied()).fold(text.to_owned(), fill);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn start(self, commands: Vec<Command>) -> anyhow::Result<Server> {
        Server::start_peer(commands, self.address, self.scratch, KIB_1.path)
    }
}

pub(crate) fn nginx(
    nginx: &Program,
    site: &Site,
    connections: usize,
    open_file_cache: &str,
) -> anyhow::Result<Server> {
    let setup = Setup::new(site, connections)?;
    let cache = [("OPEN_FILE_CACHE", open_file_cache), ("DOOR", "")];
    let conf = setup.write("nginx.conf", NGINX_CONF, &cache)?;
    setup.start(vec![nginx_with(nginx, &conf)])
}

/// nginx with a second address, which is described by these words of `listen`.
pub(crate) fn nginx_door(
    nginx: &Program,
    site: &Site,
    words: &str,
    identity: &Identity,
) -> anyhow::Result<(Server, SocketAddr)> {
    let setup = Setup::new(site, TARGET_CONNECTIONS)?;
    let address = server::free_address()?;
    let (certificate, key) = (identity.certificate(), identity.key());
    // With HTTP/2, nopush holds back the end of a response until the client has confirmed the rest.
    let nopush = if words.contains("http2") { "off" } else { "on" };
    let door = format!(
        "listen {address} {words}; ssl_certificate {certificate}; ssl_certificate_key {key}; \
         tcp_nopush {nopush};"
    );
    let gaps = [("OPEN_FILE_CACHE", "off"), ("DOOR", &door)];
    let conf = setup.write("nginx.conf", NGINX_CONF, &gaps)?;
    Ok((setup.start(vec![nginx_with(nginx, &conf)])?, address))
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
    let processes = (cores() * PHP_PER_CORE).to_string();
    let write = |name, text| setup.write(name, text, &[("PROCESSES", &processes)]);
    write("file.php", include_str!("../../peers/file.php"))?;
    let conf = write("nginx.conf", include_str!("../../peers/nginx-php.conf"))?;
    let pool = write("fpm.conf", include_str!("../../peers/php-fpm.conf"))?;
    let mut command = Command::new(&fpm.path);
    command.arg("--nodaemonize").arg("--fpm-config").arg(pool);
    setup.start(vec![command, nginx_with(nginx, &conf)])
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
    let text = include_str!("../../peers/apache.conf");
    let conf = setup.write("apache.conf", text, &[("PROCESSES", &processes)])?;
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
    // The other servers don't do this to a file, either.
    command.args(["--compression", "false", "--cache-control-headers", "false"]);
    command.args(["--log-level", "error"]);
    setup.start(vec![command])
}

/// Flags that make `wasmtime serve` reuse instances. By default it makes one for each request.
pub(crate) const KEEP: &[&str] = &[
    "--max-instance-reuse-count",
    "1000000000",
    "--idle-instance-timeout",
    "3600s",
];

pub(crate) fn wasmtime(
    wasmtime: &Program,
    component: &Path,
    site: &Site,
    flags: &[&str],
) -> anyhow::Result<Server> {
    let setup = Setup::new(site, 0)?;
    let mut folder = OsString::from("--dir=");
    folder.push(site.root());
    folder.push("::/");
    let mut command = Command::new(&wasmtime.path);
    command.args(["serve", "-S", "cli", "--addr", &setup.address.to_string()]);
    command.arg(folder).args(flags).arg(component);
    setup.start(vec![command])
}
