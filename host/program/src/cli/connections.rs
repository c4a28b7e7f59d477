//! The flags for *connections*: where clients connect, what is spoken there, and which of them are
//! proxies.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;
use wasm_pool_host::{KeyPair, TrustedProxies};

use super::listen::{self, Endpoint, Listen, Place};

/// The mode of a Unix socket: its user and group may connect.
const UNIX_MODE: u32 = 0o660;

#[derive(Args, Clone, Debug)]
pub(crate) struct Connections {
    /// Where to listen, perhaps several times: HOST:PORT, unix:PATH, or fd:N, a socket that was
    /// handed over (LISTEN_FDS). A port alone is one of 127.0.0.1, which only this machine reaches;
    /// 0.0.0.0 and [::] are for everybody. Port 0 takes a free one. With http:// in front, it stays
    /// in the clear where there are certificates
    #[arg(long, value_name = "WHERE", default_value = "127.0.0.1:8080", value_parser = listen::endpoint)]
    pub(crate) listen: Vec<Endpoint>,

    /// Who may connect to Unix sockets, as in chmod [default: 660]
    #[arg(long, value_name = "MODE", value_parser = mode)]
    unix_mode: Option<u32>,

    /// Share ports with a host that listens there already: all new connections are for this one,
    /// and the other may be stopped without losing one
    #[arg(long)]
    pub(crate) reuse_port: bool,

    /// Speak TLS with the certificate in this file (PEM, followed by those that vouch for it).
    /// Several are chosen by the name that a client asks for
    #[arg(long, value_name = "FILE")]
    tls_cert: Vec<PathBuf>,

    /// The private key of the certificate (PEM): the first for the first, and so on
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<PathBuf>,

    /// Serve only clients that show a certificate which one in this file vouches for
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Let clients speak HTTP/2 in the clear, if they begin with it. Over TLS they may anyway
    #[arg(long)]
    pub(crate) h2c: bool,

    /// Believe proxies with this address, in this network, or on Unix sockets (`unix`), for which
    /// client they ask: by Forwarded and X-Forwarded-For. May be repeated
    #[arg(long, value_name = "CIDR|unix", value_parser = trusted)]
    trusted_proxy: Vec<Trusted>,

    /// Have trusted proxies begin each connection with the PROXY protocol, version 1 or 2
    #[arg(long)]
    pub(crate) proxy_protocol: bool,
}

/// One trusted proxy.
#[derive(Clone, Copy, Debug)]
enum Trusted {
    Network(IpNet),
    Unix,
}

/// The files for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) pairs: Vec<KeyPair>,
    pub(crate) client_ca: Option<PathBuf>,
}

impl Connections {
    pub(crate) fn unix_mode(&self) -> u32 {
        self.unix_mode.unwrap_or(UNIX_MODE)
    }

    pub(super) fn trusted(&self) -> TrustedProxies {
        let networks = self
            .trusted_proxy
            .iter()
            .filter_map(|trusted| match trusted {
                Trusted::Network(network) => Some(*network),
                Trusted::Unix => None,
            });
        TrustedProxies {
            networks: networks.collect(),
            unix: self
                .trusted_proxy
                .iter()
                .any(|trusted| matches!(trusted, Trusted::Unix)),
        }
    }

    /// The files for TLS, if it is to be spoken.
    pub(crate) fn tls(&self) -> Option<TlsFiles> {
        let pairs = self.tls_cert.iter().zip(&self.tls_key);
        let pairs = pairs.map(|(certificate, key)| KeyPair {
            certificate: certificate.clone(),
            key: key.clone(),
        });
        (!self.tls_cert.is_empty()).then(|| TlsFiles {
            pairs: pairs.collect(),
            client_ca: self.tls_client_ca.clone(),
        })
    }

    /// Whether TLS is spoken at this endpoint.
    pub(crate) fn is_tls(&self, endpoint: &Endpoint) -> bool {
        let usual = || !self.tls_cert.is_empty() && !matches!(endpoint.place, Place::Unix(_));
        endpoint.is_tls.unwrap_or_else(usual)
    }

    /// # Errors
    /// A sentence that names the flag.
    pub(super) fn check(&self) -> Result<(), String> {
        let (certificates, keys) = (self.tls_cert.len(), self.tls_key.len());
        if certificates != keys {
            let counted = |number: usize, what: &str| match number {
                1 => format!("1 {what}"),
                _ => format!("{number} {what}s"),
            };
            let (certificates, keys) = (counted(certificates, "certificate"), counted(keys, "key"));
            return Err(format!(
                "--tls-key: {certificates} and {keys} don't match; give one --tls-key for each --tls-cert, in the \
                 same order"
            ));
        }
        if self.tls_client_ca.is_some() && certificates == 0 {
            return Err("--tls-client-ca: needs --tls-cert and --tls-key".to_owned());
        }
        if self.proxy_protocol && self.trusted_proxy.is_empty() {
            return Err("--proxy-protocol: needs --trusted-proxy, which says from whom".to_owned());
        }
        let is_unix = |endpoint: &Endpoint| matches!(endpoint.place, Place::Unix(_));
        if self.unix_mode.is_some() && !self.listen.iter().any(is_unix) {
            return Err("--unix-mode: there is no --listen unix:PATH".to_owned());
        }
        for (at, endpoint) in self.listen.iter().enumerate() {
            if endpoint.is_tls == Some(true) && certificates == 0 {
                return Err(format!(
                    "--listen {endpoint}: needs --tls-cert and --tls-key"
                ));
            }
            let same = |other: &Endpoint| other.place.is_taken_by(&endpoint.place);
            if self.listen[..at].iter().any(same) {
                return Err(format!("--listen {endpoint}: this is given twice"));
            }
        }
        Ok(())
    }

    /// # Errors
    /// A sentence, if clients have this address already.
    pub(super) fn leaves(&self, admin: &Listen) -> Result<(), String> {
        let admin = Place::Tcp(admin.clone());
        let same = |other: &Endpoint| other.place.is_taken_by(&admin);
        match self.listen.iter().any(same) {
            true => Err(format!(
                "--admin {admin}: this is given twice, to --listen too; give another port"
            )),
            false => Ok(()),
        }
    }
}

/// As in chmod(1): three or four octal digits.
fn mode(text: &str) -> Result<u32, String> {
    const FORM: &str = "give the permissions as in chmod, such as 660 or 666";
    let mode = u32::from_str_radix(text, 8).map_err(|_| FORM)?;
    if mode > 0o777 {
        return Err(FORM.to_owned());
    }
    Ok(mode)
}

fn trusted(text: &str) -> Result<Trusted, String> {
    if text == "unix" {
        return Ok(Trusted::Unix);
    }
    let address = text.parse::<IpAddr>().map(IpNet::from);
    let network = address.or_else(|_| text.parse::<IpNet>());
    network.map(Trusted::Network).map_err(|_| {
        "give an address or a network, such as 10.0.0.1 or 10.0.0.0/8, or unix".to_owned()
    })
}
