//! The *contestants*: the host in its three modes, and the servers that it is compared with. They
//! range from the fastest possible HTTP server on this machine to one operating-system process per
//! request.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use wasm_pool_native::http;

use super::peers::{self, Peers};
use super::site::{CONSTANT, KIB_1, Site, Size};
use crate::load::Question;
use crate::server::{LISTEN, Server};

/// The first argument that makes this program the native server, until its parent ends.
pub(crate) const BE_NATIVE: &str = "--be-native";

pub(crate) const CEILING: &str = "hyper, constant answer";
pub(crate) const NATIVE: &str = "hyper, native";
pub(crate) const NGINX: &str = "nginx";
pub(crate) const NGINX_CACHED: &str = "nginx, open_file_cache";
pub(crate) const POOL: &str = "host, pool";
pub(crate) const PER_REQUEST: &str = "host, per-request";
/// The host with the component that wasmtime serves.
pub(crate) const HTTP: &str = "host, wasi:http";
pub(crate) const HTTP_REUSED: &str = "host, wasi:http, reused";
pub(crate) const WASMTIME: &str = "wasmtime serve";
pub(crate) const WASMTIME_REUSED: &str = "wasmtime serve, reused";

pub(crate) fn is_host(contestant: &str) -> bool {
    contestant.starts_with("host")
}

/// A server that can be started for a given number of connections.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    start: Box<dyn Fn(usize) -> anyhow::Result<Server> + 'a>,
}

impl<'a> Contestant<'a> {
    fn new(name: &'static str, start: impl Fn(usize) -> anyhow::Result<Server> + 'a) -> Self {
        let start = Box::new(start);
        Self { name, start }
    }

    /// All installed contestants, in the order of the tables.
    pub(crate) fn all(site: &'a Site, peers: &'a Peers) -> Vec<Self> {
        let mut all = vec![
            Self::new(CEILING, |_| native("--constant".as_ref())),
            Self::new(NATIVE, |_| native(site.root().as_os_str())),
        ];
        if let Some(nginx) = &peers.nginx {
            let with =
                move |cache| move |connections| peers::nginx(nginx, site, connections, cache);
            all.push(Self::new(NGINX, with("off")));
            all.push(Self::new(NGINX_CACHED, with("max=1000")));
        }
        if let Some(server) = &peers.static_web_server {
            let start = move |_| peers::static_web_server(server, site);
            all.push(Self::new("static-web-server", start));
        }
        for (name, mode) in [
            (POOL, "pool"),
            ("host, single", "single"),
            (PER_REQUEST, "per-request"),
        ] {
            all.push(Self::new(name, move |_| site.host(&["--mode", mode])));
        }
        if let Some(wasmtime) = &peers.wasmtime {
            let component = &peers.component;
            let with = move |flags| move |_| peers::wasmtime(wasmtime, component, site, flags);
            all.push(Self::new(WASMTIME_REUSED, with(peers::KEEP)));
            all.push(Self::new(WASMTIME, with(&[])));
            let with = move |flags| move |_| site.host_of(component, flags);
            all.push(Self::new(HTTP_REUSED, with(&["--reuse"])));
            all.push(Self::new(HTTP, with(&[])));
        }
        if let (Some(nginx), Some(fpm)) = (&peers.nginx, &peers.fpm) {
            let start = move |connections| peers::php(nginx, fpm, site, connections);
            all.push(Self::new("nginx + php-fpm", start));
        }
        if let Some(apache) = &peers.apache {
            let start = move |connections| peers::apache(apache, site, connections);
            all.push(Self::new("apache + CGI in C", start));
        }
        all
    }

    pub(crate) fn start(&self, connections: usize) -> anyhow::Result<Server> {
        (self.start)(connections)
    }

    /// The reason why this contestant can't serve files of this size to this many clients, if any.
    pub(crate) fn obstacle(&self, size: Size, connections: usize) -> Option<String> {
        /// A third of a small machine's memory.
        const MOST_BYTES: usize = 4 << 30;

        let in_flight = size.bytes * connections;
        if self.name == CEILING && size != KIB_1 {
            return Some("its answer has 1 KiB".into());
        }
        if self.name == NATIVE && in_flight > MOST_BYTES {
            let gib = in_flight >> 30;
            return Some(format!("reads whole files, {gib} GiB at a time"));
        }
        None
    }

    pub(crate) fn question<'b>(&self, site: &'b Site, size: Size) -> Question<'b> {
        if self.name == CEILING {
            CONSTANT
        } else {
            site.file(size)
        }
    }
}

/// The native server, over this folder or with a constant answer.
fn native(source: &OsStr) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(BE_NATIVE).arg(source).arg(LISTEN);
    Server::start("the native server", command)
}

/// Runs the native server.
pub(crate) fn be_native(args: Vec<OsString>) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    http::run(args)
}
