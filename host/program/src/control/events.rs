//! What happens in a host, as it goes over the control socket and to the page: one JSON object a
//! line.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use wasm_pool_host as library;
use wasm_pool_host::{Events, Exit, Host, Pid, Watch};

/// Something that has happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Event {
    /// In microseconds since 1970.
    pub(crate) at_us: u64,
    pub(crate) pool: String,
    pub(crate) pid: Option<u64>,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// What has happened.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum What {
    Started,
    Ended(Ended),
    /// A request got no answer from a guest.
    Failed {
        request: u64,
        exit: Option<String>,
        reason: String,
    },
    Began {
        request: u64,
        asked: String,
    },
    Answered {
        request: u64,
        status: u16,
        us: u64,
    },
    Called {
        request: Option<u64>,
        function: String,
        arguments: String,
        /// None if the process ended before there was one.
        result: Option<String>,
        bytes: u64,
        us: u64,
    },
    /// Events were not taken in time.
    Lost {
        events: u64,
    },
}

/// The end of a process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Ended {
    pub(crate) exit: String,
    /// The request that it worked on.
    pub(crate) request: Option<u64>,
    /// Requests that it had answered.
    pub(crate) served: u64,
    pub(crate) age_ms: u64,
    pub(crate) reason: Option<String>,
    pub(crate) output: Option<String>,
}

/// The query of `GET /events`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) pool: Option<String>,
    pub(crate) pid: Option<u64>,
    pub(crate) calls: bool,
}

/// The events of a host, with the names of pools.
#[derive(Debug)]
pub(crate) struct Named {
    host: Host,
    events: Events,
    names: HashMap<u32, String>,
}

impl Named {
    pub(crate) fn watch(host: &Host, watch: Watch) -> Self {
        Self {
            host: host.clone(),
            events: host.watch(watch),
            names: HashMap::new(),
        }
    }

    /// The next event. None if the host is gone.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let event = self.events.next().await?;
        Some(self.named(event))
    }

    /// Ends of processes that were before.
    pub(crate) fn before(&mut self) -> Vec<Event> {
        let ends = self.host.recent_ends().into_iter();
        ends.map(|event| self.named(event)).collect()
    }

    fn named(&mut self, event: library::Event) -> Event {
        if !self.names.contains_key(&event.pool) {
            let pools = self.host.pools().into_iter();
            self.names
                .extend(pools.map(|pool| (pool.number, pool.name)));
        }
        let at = event.at.duration_since(SystemTime::UNIX_EPOCH);
        Event {
            at_us: us(at.unwrap_or_default()),
            pool: self.names.get(&event.pool).cloned().unwrap_or_default(),
            pid: event.pid.map(Pid::get),
            what: What::from(event.what),
        }
    }
}

impl Event {
    pub(crate) fn at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.at_us)
    }

    /// The event as a line.
    pub(crate) fn line(&self) -> String {
        // It has no part that JSON lacks.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

impl From<library::What> for What {
    fn from(what: library::What) -> Self {
        match what {
            library::What::Started => Self::Started,
            library::What::Ended(ended) => Self::Ended(Ended {
                exit: ended.exit.to_string(),
                request: ended.request,
                served: ended.served,
                age_ms: ended.age.as_millis() as u64,
                reason: ended.reason,
                output: ended.output,
            }),
            library::What::Failed {
                request,
                exit,
                reason,
            } => Self::Failed {
                request,
                exit: exit.as_ref().map(Exit::to_string),
                reason: reason.to_owned(),
            },
            library::What::Began { request, asked } => Self::Began { request, asked },
            library::What::Answered {
                request,
                status,
                time,
            } => Self::Answered {
                request,
                status,
                us: us(time),
            },
            library::What::Called {
                request,
                function,
                arguments,
                result,
                bytes,
                time,
            } => Self::Called {
                request: Some(request).filter(|request| *request > 0),
                function: function.to_owned(),
                arguments,
                result,
                bytes,
                us: us(time),
            },
            library::What::Lost(events) => Self::Lost { events },
        }
    }
}

impl Query {
    /// # Errors
    /// A sentence that names the part that can't be read.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("pool", name)) => query.pool = Some(decoded(name)?),
                Some(("pid", pid)) => {
                    let pid = pid.parse().map_err(|_| "a pid is a number".to_owned())?;
                    query.pid = Some(pid);
                }
                None if part == "calls" => query.calls = true,
                _ => return Err(format!("there is no {part:?} in this query")),
            }
        }
        Ok(query)
    }

    pub(super) fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(name) = &self.pool {
            let bytes = name.bytes().map(|byte| format!("%{byte:02x}"));
            parts.push(format!("pool={}", bytes.collect::<String>()));
        }
        parts.extend(self.pid.map(|pid| format!("pid={pid}")));
        if self.calls {
            parts.push("calls".to_owned());
        }
        parts.join("&")
    }
}

/// A text whose bytes may be percent-encoded.
fn decoded(text: &str) -> Result<String, String> {
    let problem = || format!("{text:?} is not percent-encoded text");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = rest
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(value.ok_or_else(problem)?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| problem())
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
