//! A *door* is how the tests' clients reach a server: what they speak, and over which socket. The
//! environment variable `WASM_POOL_DOOR` chooses one for all servers of a test process.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Chooses the door: [`Door::name`].
pub(crate) const VARIABLE: &str = "WASM_POOL_DOOR";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/1.1 over a Unix socket.
    Unix,
}

/// Where a server is, and what is spoken there.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Http1(SocketAddr),
    Tls(SocketAddr),
    Http2(SocketAddr),
    Unix(PathBuf),
    /// A worker of a cluster listens nowhere: fronts send it requests.
    Nowhere,
}

impl Door {
    const ALL: [Self; 4] = [Self::Http1, Self::Tls, Self::Http2, Self::Unix];

    /// The door of this test process.
    pub(crate) fn chosen() -> Self {
        static CHOSEN: OnceLock<Door> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let Some(name) = env::var_os(VARIABLE) else {
                return Self::Http1;
            };
            let found = Self::ALL.into_iter().find(|door| door.name() == name);
            found.unwrap_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                panic!("{VARIABLE}={}: give one of {names}", name.display())
            })
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Unix => "unix",
        }
    }

    /// Whether requests are bytes that a client can send as it likes. Those of HTTP/2 are frames.
    pub(crate) fn takes_bytes(self) -> bool {
        self != Self::Http2
    }

    /// The flags of a server with this door, besides `flags`. Its files are in this folder.
    pub(crate) fn flags(self, folder: &Path, flags: &str) -> Vec<String> {
        let mut added = Vec::new();
        let is_worker = flags.contains("--role worker");
        if is_worker {
            return added;
        }
        if !flags.contains("--listen") {
            let place = match self {
                Self::Http1 | Self::Tls | Self::Http2 => "127.0.0.1:0".to_owned(),
                Self::Unix => format!("unix:{}", new_socket(folder).display()),
            };
            added.extend(["--listen".to_owned(), place]);
        }
        if matches!(self, Self::Tls | Self::Http2) && !flags.contains("--tls-cert") {
            let pair = [
                ("--tls-cert", "certificate.pem", CERTIFIED.cert.pem()),
                (
                    "--tls-key",
                    "key.pem",
                    CERTIFIED.signing_key.serialize_pem(),
                ),
            ];
            for (flag, name, text) in pair {
                let file = folder.join(name);
                fs::write(&file, text).expect("a file beside the root");
                added.extend([flag.to_owned(), file.display().to_string()]);
            }
        }
        added
    }
}

impl Address {
    /// The first address in a start line at which this process's door is. A test that listens
    /// elsewhere by itself is met there, in the clear.
    pub(crate) fn of(start_line: &str) -> Option<Self> {
        let (_, places) = start_line.split_once("wasm-pool-host: ")?;
        let places = places.split(" · ").next()?;
        if places == "worker" {
            return Some(Self::Nowhere);
        }
        let find = |scheme| {
            places
                .split(", ")
                .find_map(|place| place.strip_prefix(scheme))
        };
        let tls = || find("https://")?.parse().ok();
        let clear = || find("http://").map_or_else(tls, |address| address.parse().ok());
        let unix = || Some(Self::Unix(find("unix:")?.into()));
        match Door::chosen() {
            Door::Http1 => clear().map(Self::Http1).or_else(unix),
            Door::Tls => tls().map(Self::Tls),
            Door::Http2 => tls().map(Self::Http2),
            Door::Unix => unix().or_else(|| clear().map(Self::Http1)),
        }
    }

    /// # Panics
    /// If it is a Unix socket, or no place: what a test does with a port has no meaning there.
    pub(crate) fn tcp(&self) -> SocketAddr {
        match self {
            Self::Http1(address) | Self::Tls(address) | Self::Http2(address) => *address,
            Self::Unix(path) => panic!("{}: a Unix socket has no port", path.display()),
            Self::Nowhere => panic!("a worker has no port"),
        }
    }
}

/// A client that names only an address speaks HTTP/1.1 in the clear, whatever the door.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Http1(address)
    }
}

/// A path for a socket. Several servers may have the same folder.
fn new_socket(folder: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("door-{count}"))
}

/// What all servers of this process show, and all of its clients trust.
static CERTIFIED: LazyLock<CertifiedKey<KeyPair>> = LazyLock::new(|| {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    generate_simple_self_signed(names).expect("a certificate")
});

/// The name that clients ask for.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// How clients speak TLS, with this protocol above it.
pub(crate) fn tls(protocol: &[u8]) -> Arc<ClientConfig> {
    static COMMON: LazyLock<ClientConfig> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        let certificate = CERTIFIED.cert.der().clone();
        roots.add(certificate).expect("a certificate that we made");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        // All servers have the same name here, and no server takes the ticket of another.
        config.resumption = Resumption::disabled();
        config
    });
    let mut config = COMMON.clone();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}
