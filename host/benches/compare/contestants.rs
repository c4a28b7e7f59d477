//! The *contestants*: the host in its three modes, and what it is compared with, from the ceiling of what HTTP
//! can do here to a process of the operating system for each request.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::load::Question;
use crate::peers::{self, Instances, Program};
use crate::servers::{self, Server};
use crate::site::{self, CONSTANT, Site, Size};

/// The first argument of this program when it shall be the native server.
pub(crate) const BE_NATIVE: &str = "--be-native";

/// In the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contestant {
    Ceiling,
    Native,
    Nginx,
    NginxCached,
    StaticWebServer,
    Pool,
    Single,
    PerRequest,
    WasmtimeReused,
    Wasmtime,
    Php,
    Apache,
}

use Contestant::*;

impl Contestant {
    pub(crate) const ALL: [Self; 12] = [
        Ceiling,
        Native,
        Nginx,
        NginxCached,
        StaticWebServer,
        Pool,
        Single,
        PerRequest,
        WasmtimeReused,
        Wasmtime,
        Php,
        Apache,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Ceiling => "hyper, constant answer",
            Native => "hyper, native",
            Nginx => "nginx",
            NginxCached => "nginx, open_file_cache",
            StaticWebServer => "static-web-server",
            Pool => "host, pool",
            Single => "host, single",
            PerRequest => "host, per-request",
            WasmtimeReused => "wasmtime serve, reused",
            Wasmtime => "wasmtime serve",
            Php => "nginx + php-fpm",
            Apache => "apache + CGI in C",
        }
    }

    pub(crate) fn is_host(self) -> bool {
        matches!(self, Pool | Single | PerRequest)
    }

    /// Why it can't be asked for files of this size by so many, if so.
    pub(crate) fn obstacle(self, size: Size, connections: usize) -> Option<String> {
        /// A third of what a small machine has.
        const MOST_BYTES: usize = 4 << 30;

        let in_flight = size.bytes() * connections;
        if self == Ceiling && size != Size::Kib1 {
            return Some("its answer has 1 KiB".into());
        }
        if self == Native && in_flight > MOST_BYTES {
            let gib = in_flight >> 30;
            return Some(format!("reads whole files, {gib} GiB at a time"));
        }
        None
    }

    pub(crate) fn question(self, site: &Site, size: Size) -> Question<'_> {
        if self == Ceiling {
            CONSTANT
        } else {
            site.file(size)
        }
    }
}

/// Where all of them are.
pub(crate) struct Field {
    component: PathBuf,
    nginx: Option<Program>,
    fpm: Option<Program>,
    apache: Option<Program>,
    static_web_server: Option<Program>,
    wasmtime: Option<Program>,
}

impl Field {
    /// Finds what is installed.
    pub(crate) fn find(component: PathBuf) -> Self {
        let find = |name: &'static str, ask, mark| Program::find(|file| file == name, ask, mark);
        Self {
            component,
            nginx: find("nginx", "-v", "nginx/"),
            // Debian adds PHP's version to the name.
            fpm: Program::find(|file| file.starts_with("php-fpm"), "-v", "PHP "),
            apache: find("apache2", "-v", "Apache/"),
            static_web_server: find("static-web-server", "--version", "Version:"),
            wasmtime: find("wasmtime", "--version", "wasmtime "),
        }
    }

    /// Without peers.
    pub(crate) fn none(component: PathBuf) -> Self {
        Self {
            component,
            nginx: None,
            fpm: None,
            apache: None,
            static_web_server: None,
            wasmtime: None,
        }
    }

    /// Each program's name, and its version if it is there.
    pub(crate) fn versions(&self) -> Vec<(String, Option<String>)> {
        let programs = [
            ("nginx", &self.nginx),
            ("php-fpm", &self.fpm),
            ("apache", &self.apache),
            ("static-web-server", &self.static_web_server),
            ("wasmtime", &self.wasmtime),
        ];
        let version = |program: &Option<Program>| program.as_ref().map(|one| one.version.clone());
        let versions = programs.map(|(name, program)| (name.to_owned(), version(program)));
        versions.into()
    }

    pub(crate) fn has(&self, contestant: Contestant) -> bool {
        match contestant {
            Ceiling | Native | Pool | Single | PerRequest => true,
            Nginx | NginxCached => self.nginx.is_some(),
            StaticWebServer => self.static_web_server.is_some(),
            WasmtimeReused | Wasmtime => self.wasmtime.is_some(),
            Php => self.nginx.is_some() && self.fpm.is_some(),
            Apache => self.apache.is_some(),
        }
    }

    /// Starts one that will have so many connections.
    pub(crate) fn start(
        &self,
        contestant: Contestant,
        site: &Site,
        connections: usize,
    ) -> anyhow::Result<Server> {
        let nginx = || installed(&self.nginx);
        let wasmtime = |instances| {
            let program = installed(&self.wasmtime)?;
            peers::wasmtime(program, &self.component, site, instances)
        };
        match contestant {
            Ceiling => native("--constant".as_ref()),
            Native => native(site.root()),
            Nginx => peers::nginx(nginx()?, site, connections, "off"),
            NginxCached => peers::nginx(nginx()?, site, connections, "max=1000"),
            StaticWebServer => peers::static_web_server(installed(&self.static_web_server)?, site),
            Pool => host(site.root(), &["--mode", "pool"]),
            Single => host(site.root(), &["--mode", "single"]),
            PerRequest => host(site.root(), &["--mode", "per-request"]),
            WasmtimeReused => wasmtime(Instances::Kept),
            Wasmtime => wasmtime(Instances::PerRequest),
            Php => peers::php(nginx()?, installed(&self.fpm)?, site, connections),
            Apache => peers::apache(installed(&self.apache)?, site, connections),
        }
    }
}

fn installed(program: &Option<Program>) -> anyhow::Result<&Program> {
    program.as_ref().context("it is not installed")
}

/// The native server over this folder, or with an answer that never changes.
fn native(source: &Path) -> anyhow::Result<Server> {
    let address = servers::free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(BE_NATIVE).arg(source).arg(address.to_string());
    let path = Size::Kib1.path();
    Server::start(vec![command], address, site::open_folder()?, path)
}

/// The host over this folder, as its users have it, all limits on, except that it is silent about single
/// requests.
pub(crate) fn host(root: &Path, flags: &[&str]) -> anyhow::Result<Server> {
    host_answering(root, flags, Size::Kib1.path())
}

/// The same with a module of the examples, which answers this path.
pub(crate) fn host_answering(root: &Path, flags: &[&str], path: &str) -> anyhow::Result<Server> {
    let address = servers::free_address()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasm-pool-host"));
    command.arg("--root").arg(root);
    command.args(["--listen", &address.to_string(), "--log-level", "warn"]);
    command.args(flags);
    Server::start(vec![command], address, site::open_folder()?, path)
}
