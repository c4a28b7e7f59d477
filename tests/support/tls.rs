//! Certificates for tests, made by an authority of their own.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};

/// Who vouches for certificates.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

/// A certificate and its key, in files.
pub(crate) struct KeyPair {
    folder: tempfile::TempDir,
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority");
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.path().join(CERTIFICATE), certificate.pem()).expect("a file");
        Self {
            folder,
            issuer: Issuer::new(params, key),
        }
    }

    /// The path of its own certificate.
    pub(crate) fn certificate(&self) -> String {
        text(self.folder.path().join(CERTIFICATE))
    }

    /// A certificate for these names. The first is its common name, too.
    pub(crate) fn certify(&self, names: &[&str]) -> KeyPair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let first = names[0].clone();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, first);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer);
        let folder = tempfile::tempdir().expect("a folder");
        let certificate = certificate.expect("a certificate").pem();
        fs::write(folder.path().join(CERTIFICATE), certificate).expect("a file");
        fs::write(folder.path().join(KEY), key.serialize_pem()).expect("a file");
        KeyPair { folder }
    }
}

impl KeyPair {
    pub(crate) fn certificate(&self) -> String {
        text(self.folder.path().join(CERTIFICATE))
    }

    pub(crate) fn key(&self) -> String {
        text(self.folder.path().join(KEY))
    }

    pub(crate) fn copy(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = Self { folder };
        self.replace(&copy);
        copy
    }

    /// Has the other's files have the content of these.
    pub(crate) fn replace(&self, other: &Self) {
        fs::copy(self.certificate(), other.certificate()).expect("a copy");
        fs::copy(self.key(), other.key()).expect("a copy");
    }
}

fn text(path: PathBuf) -> String {
    path.display().to_string()
}
