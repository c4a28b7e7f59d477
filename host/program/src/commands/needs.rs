//! What a host *needs* while it serves, as its configuration says. It gives up the rest before.
//!
//! A configuration that is read again may name what the first one did not. The host can't get it
//! back: it must be started again.

use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;
use wasm_pool_host::Module;

use super::serve::Served;
use crate::cli::config::Configured;
use crate::cli::{Serve, TlsFiles, config};
use crate::confine::{Account, Needs, Outbound};

/// The ports of URLs without one: http and https.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// The variables that name other certificates to trust than those in the system's places.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

pub(super) fn needs(
    args: &Serve,
    file: Option<PathBuf>,
    pools: &[(config::Pool, Served)],
    sockets: Vec<PathBuf>,
    manager_is_told: bool,
    user: Option<Account>,
) -> Needs {
    let mut needs = Needs {
        to_read: file.into_iter().collect(),
        log: args.log_file.clone(),
        sockets,
        // The service manager is told over one.
        unix_sockets: manager_is_told,
        user,
        ..Needs::default()
    };
    if let Some(TlsFiles { pairs, client_ca }) = args.connections.tls() {
        let pairs = pairs.into_iter();
        needs
            .to_read
            .extend(pairs.flat_map(|pair| [pair.certificate, pair.key]));
        needs.to_read.extend(client_ca);
    }
    // A connection to NATS that is lost is made anew, with what these files say by then.
    needs.to_read.extend(args.cluster.files());
    needs.certificates = args.cluster.trusts_the_system();
    if needs.certificates {
        let named = CERTIFICATES.iter().filter_map(std::env::var_os);
        needs.to_read.extend(named.map(PathBuf::from));
    }
    let mut ports: Vec<u16> = args.cluster.ports().collect();
    for (pool, served) in pools {
        let settings = &served.settings;
        needs.to_read.push(settings.root.clone());
        needs.to_read.extend(pool.serve.env_files().iter().cloned());
        match &settings.module {
            Module::BuiltIn => {} // it is in no cache
            Module::File(module) => {
                needs.to_read.push(module.clone());
                needs.to_write.extend(settings.cache.clone());
            }
            Module::Bytes(_) => needs.to_write.extend(settings.cache.clone()),
        }
        let dumps = settings.core_dumps.as_ref();
        needs
            .to_write
            .extend(dumps.map(|dumps| dumps.folder.clone()));
        for destination in &settings.environment.outbound {
            match destination.port {
                Some(port) => ports.push(port),
                None => ports.extend(USUAL_PORTS),
            }
        }
    }
    if !ports.is_empty() {
        needs.outbound = Outbound::Ports(ports.into_iter().collect());
    }
    needs
}

/// The files and folders that a configuration names for a reload.
pub(crate) fn named(read: &mut Configured) -> Vec<PathBuf> {
    let mut named = Vec::new();
    if let Some(TlsFiles { pairs, client_ca }) = read.serve.connections.tls() {
        let pairs = pairs.into_iter();
        named.extend(pairs.flat_map(|pair| [pair.certificate, pair.key]));
        named.extend(client_ca);
    }
    for pool in &mut read.pools {
        named.extend(pool.serve.env_files().iter().cloned());
        // What can't be used is told elsewhere.
        let Ok(settings) = pool.settings() else {
            continue;
        };
        named.push(settings.root);
        if let Module::File(module) = settings.module {
            named.push(module);
        }
    }
    named
}

/// Whether the mode of a file, or of a folder above it, keeps this user from reading it. Walls of
/// the host's own don't count.
pub(crate) fn is_forbidden(file: &Path) -> bool {
    rustix::fs::access(file, Access::READ_OK) == Err(Errno::ACCESS)
}
