//! The control socket's *client*: finds the host, asks it once, and says what went wrong.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::events::{Event, Query};
use super::{api, place};

/// The longest time that an answer may take: loading a module may take long.
const PATIENCE: Duration = Duration::from_secs(600);

const OTHER_VERSION: &str = "the host's answer is of another version";

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
            [] => {
                let folders = place::folders().into_iter();
                let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
                bail!(
                    "no host of this user is running: there is no socket in {}; for another one give --host SOCKET",
                    folders.join(", ")
                )
            }
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

    pub(crate) async fn kill(&self, pid: u64, way: api::Way) -> anyhow::Result<()> {
        let path = match way.query() {
            "" => format!("/processes/{pid}"),
            way => format!("/processes/{pid}?{way}"),
        };
        self.ask(Method::DELETE, &path, &()).await
    }

    pub(crate) async fn reload_all(&self) -> anyhow::Result<api::Reloaded> {
        self.ask(Method::POST, "/reload", &()).await
    }

    pub(crate) async fn drain(&self, pool: Option<&str>) -> anyhow::Result<()> {
        let path = match pool {
            Some(pool) => format!("/pools/{pool}/drain"),
            None => "/drain".to_owned(),
        };
        self.ask(Method::POST, &path, &()).await
    }

    /// What happens in the host from now on.
    pub(crate) async fn events(&self, query: &Query) -> anyhow::Result<Told> {
        let path = format!("/events?{}", query.text());
        let asked = self.exchange(Method::GET, &path, Vec::new());
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let (response, connection) = answer.context("the host does not answer")??;
        let is_fine = response.status().is_success();
        let told = Told {
            body: response.into_body(),
            connection,
            rest: Vec::new(),
        };
        match is_fine {
            true => Ok(told),
            false => Err(refusal(&told.all().await?)),
        }
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
        let stopping = api::Stopping { grace_ms };
        let asked = self.ask(Method::POST, "/stop", &stopping);
        let cut_off = |error: &anyhow::Error| {
            let cause = error.downcast_ref::<hyper::Error>();
            cause.is_some_and(hyper::Error::is_incomplete_message)
        };
        match asked.await {
            Err(error) if cut_off(&error) => Ok(()), // it has stopped before it could answer
            asked => asked,
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        let asked = async {
            let (response, connection) = self.exchange(method, path, body).await?;
            let is_fine = response.status().is_success();
            let told = Told {
                body: response.into_body(),
                connection,
                rest: Vec::new(),
            };
            anyhow::Ok((is_fine, told.all().await?))
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let (is_fine, body) = answer.context("the host does not answer")??;
        if is_fine {
            return serde_json::from_slice(&body).context(OTHER_VERSION);
        }
        Err(refusal(&body))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<(Response<Incoming>, Connection)> {
        let socket = self.0.display();
        let stream = UnixStream::connect(&self.0).await;
        let stream = stream.with_context(|| format!("{socket}: no host answers there"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "host")
            .body(Full::<Bytes>::from(body))?;
        // A task of its own: whoever reads the answer waits for nothing else.
        let connection = Connection(tokio::spawn(async move {
            let _broken = connection.await; // the answer breaks off too
        }));
        let response = sender.send_request(request).await;
        Ok((response.context("the host has ended")?, connection))
    }
}

/// A connection to a host. Dropping it closes it.
#[derive(Debug)]
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a host tells.
#[derive(Debug)]
pub(crate) struct Told {
    body: Incoming,
    #[expect(dead_code)] // held, so that it stays open
    connection: Connection,
    /// Bytes behind the last line.
    rest: Vec<u8>,
}

impl Told {
    /// The next event. None if the host has ended.
    ///
    /// # Errors
    /// If the host is of another version.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Event>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let event = serde_json::from_slice(&line);
                return event.map(Some).context(OTHER_VERSION);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }

    async fn all(mut self) -> anyhow::Result<Bytes> {
        let body = (&mut self.body).collect().await;
        Ok(body.context("the host has ended")?.to_bytes())
    }
}

fn refusal(body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<api::Refusal>(body) {
        Ok(refusal) => anyhow!(refusal.error),
        Err(_) => anyhow!("{}", String::from_utf8_lossy(body).trim().to_owned()),
    }
}
