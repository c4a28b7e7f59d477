//! The *contestants*: the host in its three modes and everything that it is compared with, from the
//! ceiling of what HTTP can do on this machine to a process of the operating system for each
//! request.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::peers::{self, Instances, Program};
use super::site::{CONSTANT, Site, Size};
use crate::load::Question;
use crate::native;
use crate::server::{LISTEN, Server};

/// The first argument by which this program is the native server, for as long as its parent lives.
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

    /// Why this contestant can't be asked for files of this size by so many clients, if so.
    pub(crate) fn obstacle(self, size: Size, connections: usize) -> Option<String> {
        /// A third of a small machine's memory.
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

/// The programs of all contestants.
#[derive(Default)]
pub(crate) struct Field {
    component: PathBuf,
    nginx: Option<Program>,
    fpm: Option<Program>,
    apache: Option<Program>,
    static_web_server: Option<Program>,
    wasmtime: Option<Program>,
}

impl Field {
    /// Finds the programs that are installed.
    pub(crate) fn find(component: &Path) -> Self {
        let find = |name: &'static str, ask, mark| Program::find(|file| file == name, ask, mark);
        Self {
            component: component.to_owned(),
            nginx: find("nginx", "-v", "nginx/"),
            // Debian adds PHP's version to the name.
            fpm: Program::find(|file| file.starts_with("php-fpm"), "-v", "PHP "),
            apache: find("apache2", "-v", "Apache/"),
            static_web_server: find("static-web-server", "--version", "Version:"),
            wasmtime: find("wasmtime", "--version", "wasmtime "),
        }
    }

    pub(crate) fn without_peers() -> Self {
        Self::default()
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

    /// Starts a contestant that will have so many connections.
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
            Native => native(site.root().as_os_str()),
            Nginx => peers::nginx(nginx()?, site, connections, "off"),
            NginxCached => peers::nginx(nginx()?, site, connections, "max=1000"),
            StaticWebServer => peers::static_web_server(installed(&self.static_web_server)?, site),
            Pool => site.host(&["--mode", "pool"]),
            Single => site.host(&["--mode", "single"]),
            PerRequest => site.host(&["--mode", "per-request"]),
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
fn native(source: &OsStr) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(BE_NATIVE).arg(source).arg(LISTEN);
    Server::start("the native server", command)
}

/// Is the native server.
pub(crate) fn be_native(args: Vec<OsString>) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    native::run(args)
}
