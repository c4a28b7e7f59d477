//! The *doors*: what TLS, HTTP/2 and the host's confinement cost, beside nginx with the same. The
//! load is nghttp2's `h2load`, which speaks all of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::Bench;
use super::matrix::TARGET_CONNECTIONS;
use super::peers::{self, Peers};
use super::site::{KIB_1, open_folder};
use crate::findings::Target::{self, AtLeast};
use crate::quantities::{CPU, RATE};
use crate::results::{Case, Results, Turn};
use crate::server::Server;

const CASE: &str = "1 KiB, 32 connections of h2load";

/// The streams that a connection of HTTP/2 has open at a time: as many as a browser that loads a
/// page.
const STREAMS: &str = "10";

const CONFINED: &str = "host, HTTP/1.1";
const UNCONFINED: &str = "host, HTTP/1.1, unconfined";
const HOST_TLS: &str = "host, HTTP/1.1, TLS";
const HOST_H2_ONE: &str = "host, HTTP/2, a stream each";
const HOST_H2: &str = "host, HTTP/2, 10 streams each";
const HOST_H2_TLS: &str = "host, HTTP/2, 10 streams each, TLS";
const NGINX: &str = "nginx, HTTP/1.1";
const NGINX_TLS: &str = "nginx, HTTP/1.1, TLS";
const NGINX_H2_ONE: &str = "nginx, HTTP/2, a stream each";
const NGINX_H2: &str = "nginx, HTTP/2, 10 streams each";
const NGINX_H2_TLS: &str = "nginx, HTTP/2, 10 streams each, TLS";

const HTTP1: &[&str] = &["--h1"];
const ONE_STREAM: &[&str] = &["-m", "1"];
const MANY_STREAMS: &[&str] = &["-m", STREAMS];

/// The ratios of requests per second: dividend and divisor.
const RATIOS: &[([&str; 2], Target)] = &[
    ([HOST_H2, CONFINED], AtLeast(0.9, 0.9)),
    ([HOST_H2_ONE, CONFINED], Target::None),
    ([HOST_TLS, CONFINED], AtLeast(0.75, 0.75)),
    ([HOST_H2_TLS, HOST_TLS], Target::None),
    ([CONFINED, UNCONFINED], AtLeast(0.97, 1.0)),
    ([NGINX_H2, NGINX], Target::None),
    ([NGINX_H2_ONE, NGINX], Target::None),
    ([NGINX_TLS, NGINX], Target::None),
    ([NGINX_H2_TLS, NGINX_TLS], Target::None),
    ([CONFINED, NGINX], Target::None),
    ([HOST_H2, NGINX_H2], Target::None),
    ([HOST_TLS, NGINX_TLS], Target::None),
];

pub(super) fn judge(results: &mut Results) {
    for (contestants, target) in RATIOS {
        results.find_ratio(CASE, *contestants, RATE, *target);
    }
}

/// A certificate that signs itself, and its key. Dropping this deletes the files.
pub(super) struct Identity(TempDir);

impl Identity {
    /// # Errors
    /// If `openssl` can't be run or fails.
    fn new() -> anyhow::Result<Self> {
        let this = Self(open_folder()?);
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=localhost",
        ]);
        openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-keyout", &this.key(), "-out", &this.certificate()]);
        let output = openssl.output().context("can't run openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "openssl makes no certificate: {said}"
        );
        Ok(this)
    }

    pub(super) fn certificate(&self) -> String {
        self.0.path().join("certificate.pem").display().to_string()
    }

    pub(super) fn key(&self) -> String {
        self.0.path().join("key.pem").display().to_string()
    }
}

impl Bench {
    /// Nothing if `h2load` is not installed.
    pub(super) fn doors<'a>(&'a self, peers: &'a Peers) -> Option<Case<'a>> {
        let h2load = peers.h2load.as_ref()?.path();
        let host = |flags: &'static [&str], load: &'static [&str]| {
            move || {
                let mut server = self.site.host(flags)?;
                let url = format!("http://{}", server.address);
                self.load(&mut server, h2load, &url, load)
            }
        };
        let host_tls = |load: &'static [&str]| {
            move || {
                let identity = Identity::new()?;
                let (certificate, key) = (identity.certificate(), identity.key());
                let flags = ["--tls-cert", &certificate, "--tls-key", &key];
                let mut server = self.site.host(&flags)?;
                let url = format!("https://{}", server.address);
                self.load(&mut server, h2load, &url, load)
            }
        };
        let mut case = Case::new(CASE, self.pace.target.rounds)
            .with(CONFINED, host(&[], HTTP1))
            .with(UNCONFINED, host(&["--no-confine"], HTTP1))
            .with(HOST_TLS, host_tls(HTTP1))
            .with(HOST_H2_ONE, host(&["--h2c"], ONE_STREAM))
            .with(HOST_H2, host(&["--h2c"], MANY_STREAMS))
            .with(HOST_H2_TLS, host_tls(MANY_STREAMS));
        case.is_needed = false;
        if let Some(nginx) = &peers.nginx {
            let peer = |words: &'static str, load: &'static [&str]| {
                move || {
                    let identity = Identity::new()?;
                    let (mut server, door) =
                        peers::nginx_door(nginx, &self.site, words, &identity)?;
                    let s = if words.contains("ssl") { "s" } else { "" };
                    self.load(&mut server, h2load, &format!("http{s}://{door}"), load)
                }
            };
            case = case
                .with(NGINX, peer("", HTTP1))
                .with(NGINX_TLS, peer("ssl", HTTP1))
                .with(NGINX_H2_ONE, peer("http2", ONE_STREAM))
                .with(NGINX_H2, peer("http2", MANY_STREAMS))
                .with(NGINX_H2_TLS, peer("ssl http2", MANY_STREAMS));
        }
        Some(case)
    }

    /// Measures a server under the load of `h2load`, after a warm-up. All answers must be good.
    fn load(
        &self,
        server: &mut Server,
        h2load: &Path,
        url: &str,
        flags: &[&str],
    ) -> anyhow::Result<Turn> {
        let turns = self.pace.target;
        let ask = |duration: Duration| {
            let mut command = Command::new(h2load);
            command.args(["-t", "1", "-c", &TARGET_CONNECTIONS.to_string()]);
            // It takes whole seconds.
            let seconds = duration.as_secs_f64().ceil().to_string();
            command.args(["-D", &seconds]).args(flags);
            let output = command.arg(format!("{url}{}", KIB_1.path)).output()?;
            Told::read(&String::from_utf8_lossy(&output.stdout))
        };
        server.check(ask(turns.warm_up))?;
        let (told, used) = server.used_during(|| ask(turns.duration))?;
        Ok(vec![
            (RATE, told.per_second),
            (CPU, used.cpu.as_secs_f64() * 1000.0 / told.answered),
            ("peak_mib", used.peak_kib / 1024.0),
            ("requests", told.answered),
        ])
    }
}

/// What `h2load` prints.
struct Told {
    per_second: f64,
    answered: f64,
}

impl Told {
    /// # Errors
    /// If an answer is missing or not good.
    fn read(text: &str) -> anyhow::Result<Self> {
        let number = |before: &str, behind: &str| {
            let (text, _) = text.split_once(behind)?;
            text.rsplit_once(before)?.1.trim().parse::<f64>().ok()
        };
        let numbers = || {
            Some((
                number(", ", " req/s")?,
                number(" ", " succeeded")?,
                number("status codes: ", " 2xx")?,
            ))
        };
        let (per_second, answered, good) =
            numbers().with_context(|| format!("h2load says no figures, but: {text}"))?;
        let failed = number(" ", " failed").unwrap_or(f64::NAN);
        ensure!(
            answered > 0.0 && failed == 0.0 && good >= answered,
            "h2load: {text}"
        );
        Ok(Self {
            per_second,
            answered,
        })
    }
}
