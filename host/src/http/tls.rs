//! *TLS*: certificates and their keys, read from files and chosen by the name that a client asks
//! for. They can be replaced while the host serves; open connections keep what they have.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// The protocols above TLS, the best one first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];

/// The name of HTTP/2 (RFC 9113, section 3.3).
pub(super) const HTTP_2: &[u8] = b"h2";

/// A certificate with the certificates that vouch for it, and its key: two files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate first.
    pub certificate: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What a host needs to speak TLS 1.2 and 1.3. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// Why files can't be used for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What the file is used for. One file may have several uses.
    pub used_as: TlsFile,
    /// What is wrong with it.
    pub why: String,
}

/// What a file is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFile {
    /// [`KeyPair::certificate`].
    Certificate,
    /// [`KeyPair::key`].
    Key,
    /// The certificates that vouch for those of clients.
    ClientCa,
}

/// The word in files of PEM whose key has a passphrase: in the label of PKCS #8 (RFC 7468), and in
/// the field `Proc-Type` of the forms before it (RFC 1421).
const ENCRYPTED: &[u8] = b"ENCRYPTED";

impl Tls {
    /// Reads certificates and keys. A client gets the first certificate that is for the name it
    /// asks for, or else the first one. With `client_ca`, clients must show a certificate that one
    /// of the certificates in this file vouches for. Certificates that were revoked still count.
    ///
    /// # Errors
    /// [`TlsError`]. Also if there is no pair.
    pub fn read(pairs: &[KeyPair], client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let read = pairs.iter().map(|pair| Certified::read(pair, &provider));
        let certified = read.collect::<Result<Vec<_>, _>>()?;
        if certified.is_empty() {
            let (nowhere, used_as) = (Path::new(""), TlsFile::Certificate);
            return Err(TlsError::of(nowhere, used_as, "there is no certificate"));
        }
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| TlsError::of(&pairs[0].certificate, TlsFile::Certificate, error))?;
        let config = match client_ca {
            None => config.with_no_client_auth(),
            Some(file) => {
                let refused = |why: &dyn fmt::Display| TlsError::of(file, TlsFile::ClientCa, why);
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file, TlsFile::ClientCa)? {
                    let added = roots.add(certificate);
                    added.map_err(|error| refused(&error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.build();
                let verifier = verifier.map_err(|error| refused(&error))?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let mut config = config.with_cert_resolver(Arc::new(Certificates(certified)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        if let Ok(ticketer) = ring::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Ok(Self(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// Has connections that come from now on find what `other` has.
    pub fn replace(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.load_full().into()
    }
}

impl TlsError {
    fn of(file: &Path, used_as: TlsFile, why: impl fmt::Display) -> Self {
        Self {
            file: file.to_owned(),
            used_as,
            why: why.to_string(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for TlsError {}

/// All pairs, in the order in which they were given.
#[derive(Debug)]
struct Certificates(Vec<Certified>);

#[derive(Debug)]
struct Certified {
    key: Arc<CertifiedKey>,
    /// The certificate alone, for its names.
    certificate: CertificateDer<'static>,
}

impl Certified {
    fn read(pair: &KeyPair, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let KeyPair { certificate, key } = pair;
        let chain = certificates(certificate, TlsFile::Certificate)?;
        let (first, others) = (chain[0].clone(), chain.len() - 1);
        let parsed = ParsedCertificate::try_from(&first);
        parsed.map_err(|error| TlsError::of(certificate, TlsFile::Certificate, error))?;
        let refused = |why: String| TlsError::of(key, TlsFile::Key, why);
        let text = fs::read(key).map_err(|error| refused(error.to_string()))?;
        let private = PrivateKeyDer::from_pem_slice(&text);
        let private = private.map_err(|error| {
            let has = |word: &[u8]| text.windows(word.len()).any(|part| part == word);
            match has(ENCRYPTED) {
                true => refused(format!(
                    "the key is encrypted, and nobody is here to type its passphrase: decrypt it with \
                     `openssl pkey -in {} -out FILE`, and let nobody else read that file",
                    key.display()
                )),
                false => refused(unreadable(&error, "private key")),
            }
        })?;
        // Fails too if the two don't belong together.
        let certified = CertifiedKey::from_der(chain, private, provider);
        let certified = certified.map_err(|error| {
            let is_of_another = matches!(error, tokio_rustls::rustls::Error::InconsistentKeys(_));
            let of = certificate.display();
            match (is_of_another, others) {
                (true, 0) => refused(format!("the key is not the one of {of}")),
                (true, _) => refused(format!(
                    "the key is not the one of the first certificate in {of}: that is the one which is shown, \
                     and those that vouch for it stand behind it"
                )),
                (false, _) => refused(error.to_string()),
            }
        })?;
        Ok(Self {
            key: Arc::new(certified),
            certificate: first,
        })
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let parsed = ParsedCertificate::try_from(&self.certificate);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(ServerName::try_from);
        let usable = |certified: &&Certified| {
            let schemes = hello.signature_schemes();
            certified.key.key.choose_scheme(schemes).is_some()
        };
        let mut usable = self.0.iter().filter(usable);
        let chosen = match &name {
            Some(Ok(name)) => {
                let mut all = usable.clone();
                all.find(|certified| certified.is_for(name))
            }
            Some(Err(_)) | None => None,
        };
        let chosen = chosen.or_else(|| usable.next())?;
        Some(Arc::clone(&chosen.key))
    }
}

/// The certificates in a file, one at least.
fn certificates(file: &Path, used_as: TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |error| TlsError::of(file, used_as, unreadable(&error, "certificate"));
    let read = CertificateDer::pem_file_iter(file).map_err(refused)?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if certificates.is_empty() {
        return Err(TlsError::of(file, used_as, "it has no certificate in PEM"));
    }
    Ok(certificates)
}

fn unreadable(error: &pem::Error, what: &str) -> String {
    if let pem::Error::Io(error) = error {
        return error.to_string();
    }
    if matches!(error, pem::Error::NoItemsFound) {
        return format!("it has no {what} in PEM");
    }
    format!("not PEM: {error}")
}
