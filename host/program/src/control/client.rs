//! The control socket's *client*: finds the host, asks it once, and says what went wrong.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{api, place};

/// The longest time that an answer may take: loading a module may take long.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which host is meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted(pub(crate) Option<String>);

/// A host that is there.
#[derive(Debug)]
pub(crate) struct Remote(PathBuf);

impl Wanted {
    /// # Errors
    /// If there is no such host, or several and none was named.
    pub(crate) fn find(&self) -> anyhow::Result<Remote> {
        if let Some(wanted) = &self.0 {
            let path = match wanted.parse() {
                Ok(pid) => place::of(pid),
                Err(_) => PathBuf::from(wanted),
            };
            return Ok(Remote(path));
        }
        match &*place::living() {
            [] => bail!("no host of this user is running; --host names one that has --control"),
            [only] => Ok(Remote(only.clone())),
            several => {
                let pids = several.iter().filter_map(|path| path.file_stem()?.to_str());
                let pids: Vec<_> = pids.collect();
                bail!(
                    "several hosts are running: give --host with one of {}",
                    pids.join(", ")
                )
            }
        }
    }
}

impl Remote {
    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<api::Process>> {
        self.ask(Method::GET, "/processes", &()).await
    }

    pub(crate) async fn status(&self) -> anyhow::Result<api::Status> {
        self.ask(Method::GET, "/status", &()).await
    }

    pub(crate) async fn kill(&self, pid: u64, traps: bool) -> anyhow::Result<()> {
        let query = match traps {
            true => format!("?{}", api::TRAP),
            false => String::new(),
        };
        self.ask(Method::DELETE, &format!("/processes/{pid}{query}"), &())
            .await
    }

    pub(crate) async fn scale(&self, pool: &str, workers: api::Workers) -> anyhow::Result<()> {
        self.ask(Method::PUT, &format!("/pools/{pool}/workers"), &workers)
            .await
    }

    pub(crate) async fn reload(&self, pool: &str) -> anyhow::Result<()> {
        self.ask(Method::POST, &format!("/pools/{pool}/reload"), &())
            .await
    }

    pub(crate) async fn set_level(&self, level: &str) -> anyhow::Result<()> {
        let level = level.to_owned();
        self.ask(Method::PUT, "/log-level", &api::Level { level })
            .await
    }

    pub(crate) async fn stop(&self, grace: Option<Duration>) -> anyhow::Result<()> {
        let grace_ms = grace.map(|grace| grace.as_millis() as u64);
        self.ask(Method::POST, "/stop", &api::Stopping { grace_ms })
            .await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let asked = self.exchange(method, path, serde_json::to_vec(body)?);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let (is_fine, body) = answer.context("the host does not answer")??;
        if is_fine {
            return serde_json::from_slice(&body)
                .context("the host's answer is of another version");
        }
        let refusal: api::Refusal = serde_json::from_slice(&body)?;
        Err(anyhow!(refusal.error))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(bool, Bytes)> {
        let socket = self.0.display();
        let stream = UnixStream::connect(&self.0).await;
        let stream = stream.with_context(|| format!("{socket}: no host answers there"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "host")
            .body(Full::<Bytes>::from(body))?;
        let answered = async {
            let response = sender.send_request(request).await?;
            let is_fine = response.status().is_success();
            anyhow::Ok((is_fine, response.into_body().collect().await?.to_bytes()))
        };
        tokio::pin!(answered);
        tokio::select! {
            answer = &mut answered => answer,
            broken = connection => {
                broken?;
                answered.await
            }
        }
    }
}
