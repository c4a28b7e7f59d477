//! A *plan* gives a module of a known kind its settings, with defaults, all checked. A setting that
//! has no effect for the kind is refused, because its user would wait for the effect in vain.
//!
//! What the system allows is divided before: open files among connections and modules, and memory
//! among the processes that are kept alive.

use std::sync::Arc;
use std::time::Duration;

use crate::files::MAX_RECENT_FILES;
use crate::kind::{Kind, Reusable};
use crate::pool::{self, OVERLAP, Reuse};
use crate::settings::{HostSettings, MAX_PROCESSES, Mode, Setting, Settings, Workers};
use crate::{descriptors, mailbox, sandbox, table};

/// Descriptors beside those of connections and guests: the root folder, the runtime, the log,
/// recent files, and some to spare.
const OWN_DESCRIPTORS: u64 = 64 + MAX_RECENT_FILES as u64;

/// A guest that lists a folder briefly has two more files open: the folder, and the target of a
/// link in it.
const IN_PASSING: u64 = 2;

/// A connection has a socket, and a file while one is being sent.
const PER_CONNECTION: u64 = 2;

/// Connections by default. For comparison, nginx's default is 512 per core. Most connections are
/// idle.
const CONNECTIONS: usize = 4096;

/// One page of linear memory. Nothing runs in less.
const MIN_MEMORY: u64 = 64 << 10;

/// The most linear memory that wasm's 32-bit addresses reach.
const MAX_MEMORY: u64 = 4 << 30;

/// The most bytes of a request's head in a mailbox, beside its body. hyper's buffer holds less.
const HEAD_BYTES: u64 = 512 << 10;

const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE: usize = 1024;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
const CHILDREN: usize = 1024;
const MAILBOX_MESSAGES: usize = 4096;
const NAMES: usize = 1024;

/// The settings of a module, with defaults.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workers: Workers,
    pub(crate) sandbox: sandbox::Settings,
    pub(crate) pool: pool::Settings,
    pub(crate) table: table::Settings,
}

/// How the system's open files are divided.
#[derive(Clone, Debug)]
pub(crate) struct Division {
    /// Connections at one time.
    pub(crate) connections: usize,
    /// The files of the guests of each module.
    pub(crate) files: Vec<u64>,
}

/// Why settings can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// The setting has no effect for this kind of module.
    OtherKind {
        /// The setting.
        setting: Setting,
        /// The kind of the module.
        kind: Kind,
    },
    /// The setting has no effect with this mode.
    OtherMode {
        /// The setting.
        setting: Setting,
        /// The mode.
        mode: Mode,
    },
    /// A number is out of range.
    OutOfRange {
        /// The setting.
        setting: Setting,
        /// Its value.
        given: u64,
        /// The least it may be.
        least: u64,
        /// The most it may be.
        most: u64,
    },
    /// A mailbox is too small for the largest message or request.
    Mailbox {
        /// The bytes that a mailbox may hold.
        given: u64,
        /// The bytes of the largest message or request.
        needs: u64,
    },
    /// The processes that are kept alive have more memory than all processes together may.
    HostMemory {
        /// The memory of all processes, in bytes.
        given: u64,
        /// The memory of those that are kept alive, in bytes.
        needs: u64,
    },
    /// The system allows fewer open files than the host may need.
    Descriptors {
        /// The requested number of connections.
        connections: usize,
        /// Open files that the host may need.
        needs: u64,
        /// Open files that the system allows.
        allowed: u64,
    },
}

impl Settings {
    /// Checks everything that does not depend on the kind of the module.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        let most = match self.core_dumps {
            Some(_) => sandbox::MOST_DUMPED,
            None => MAX_MEMORY,
        };
        in_range(Setting::Memory, self.limits.memory, MIN_MEMORY, most)?;
        let most = u64::from(MAX_PROCESSES);
        in_range(Setting::Processes, self.program.processes().into(), 1, most)?;
        if let Some(Workers { min, max }) = self.pool.workers {
            in_range(Setting::Workers, max.into(), 1, most)?;
            in_range(Setting::Workers, min.into(), 0, max.into())?;
        }
        let mode = self.pool.mode();
        let unused = match mode {
            Mode::Pool => None,
            Mode::PerRequest => self.pool.max_requests.map(|_| Setting::MaxRequests),
            Mode::Single => self.pool.workers.map(|_| Setting::Workers),
        };
        let unused = unused.or_else(|| {
            // In the other modes no process waits to be ended.
            let timeout = self.pool.idle_timeout.filter(|_| mode != Mode::Pool);
            timeout.map(|_| Setting::IdleTimeout)
        });
        if let Some(setting) = unused {
            return Err(SettingsError::OtherMode { setting, mode });
        }
        self.mailbox_has_room(self.program.message())
    }

    fn mailbox_has_room(&self, needs: u64) -> Result<(), SettingsError> {
        let given = self.program.mailbox_bytes();
        if needs > given {
            return Err(SettingsError::Mailbox { given, needs });
        }
        Ok(())
    }

    /// Connections that guests of this module may have to other servers.
    fn outgoing(&self) -> u64 {
        match &*self.environment.outbound {
            [] => 0,
            [_, ..] => sandbox::MAX_OUTGOING.into(),
        }
    }

    /// Instances of a module of this kind, and the files that are reserved for them, so that no
    /// process finds all files taken by others.
    fn instances(&self, kind: Kind, is_served: bool) -> (u32, u64) {
        if !kind.is_pooled() {
            return (self.program.processes(), 0);
        }
        let instances = match is_served {
            true => self.pool.workers(cores()).max + OVERLAP,
            false => 1,
        };
        let each = u64::from(self.limits.open_files) + IN_PASSING;
        (instances, u64::from(instances) * each)
    }

    /// The memory of the processes that are kept alive, in bytes.
    fn kept_memory(&self, kind: Kind) -> u64 {
        let kept = match kind.is_pooled() {
            true => self.pool.workers(cores()).min,
            false => 1,
        };
        self.limits.memory.saturating_mul(kept.into())
    }
}

impl HostSettings {
    /// Checks everything that does not depend on modules.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn check(&self) -> Result<(), SettingsError> {
        if let Some(connections) = self.connections {
            in_range(Setting::Connections, connections as u64, 1, u64::MAX)?;
            descriptors_beside(connections, OWN_DESCRIPTORS, 0)?;
        }
        Ok(())
    }
}

impl Division {
    /// Divides what there is among the connections of a host and its modules.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn among(
        host: &HostSettings,
        modules: &[(Kind, &Settings)],
    ) -> Result<Self, SettingsError> {
        let of_all = |of: fn(Kind, &Settings) -> u64| {
            let each = modules.iter().map(|&(kind, settings)| of(kind, settings));
            each.fold(0, u64::saturating_add)
        };
        let needs = of_all(|kind, settings| settings.kept_memory(kind));
        if let Some(given) = host.memory.filter(|given| needs > *given) {
            return Err(SettingsError::HostMemory { given, needs });
        }
        let own = OWN_DESCRIPTORS + of_all(|_, settings| settings.outgoing());
        let reserved = of_all(|kind, settings| settings.instances(kind, true).1);
        let fitting = || fitting_connections(own.saturating_add(reserved));
        let connections = host.connections.unwrap_or_else(fitting);
        let left = descriptors_beside(connections, own, reserved)? - reserved;
        let share = left / modules.len().max(1) as u64;
        let files = modules
            .iter()
            .map(|(kind, settings)| settings.instances(*kind, true).1 + share);
        Ok(Self {
            connections,
            files: files.collect(),
        })
    }

    /// The files of a module that runs by itself, without connections.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn alone(kind: Kind, settings: &Settings) -> Result<u64, SettingsError> {
        let own = OWN_DESCRIPTORS + settings.outgoing();
        descriptors_beside(0, own, settings.instances(kind, false).1)
    }
}

/// The open files that the system allows beyond connections and the host's own. Fails if fewer than
/// `guests`.
fn descriptors_beside(connections: usize, own: u64, guests: u64) -> Result<u64, SettingsError> {
    let allowed = descriptors::allowed();
    let others = (connections as u64).saturating_mul(PER_CONNECTION);
    let others = others.saturating_add(own);
    let needs = others.saturating_add(guests);
    if needs > allowed {
        return Err(SettingsError::Descriptors {
            connections,
            needs,
            allowed,
        });
    }
    Ok(allowed - others)
}

fn in_range(setting: Setting, given: u64, least: u64, most: u64) -> Result<(), SettingsError> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    Err(SettingsError::OutOfRange {
        setting,
        given,
        least,
        most,
    })
}

impl Plan {
    /// Plans for a module of this kind, whose guests may have so many files open. The settings must
    /// have been [checked](Settings::check). `is_served` says whether requests come over HTTP.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub(crate) fn new(
        kind: Kind,
        settings: &Settings,
        files: u64,
        is_served: bool,
    ) -> Result<Self, SettingsError> {
        let unused = if kind.is_pooled() {
            let reuse = settings.pool.reuse && kind.reusable() != Reusable::OnRequest;
            let reuse = reuse.then_some(Setting::Reuse);
            reuse.or_else(|| settings.program.first_set())
        } else if settings.steps.are_on() {
            Some(Setting::Steps)
        } else if settings.slow.is_some() {
            Some(Setting::Slow)
        } else {
            settings.pool.first_set()
        };
        if let Some(setting) = unused {
            return Err(SettingsError::OtherKind { setting, kind });
        }
        let limits = &settings.limits;
        let workers = settings.pool.workers(cores());
        let (instances, reserved) = settings.instances(kind, is_served);
        if reserved > files {
            return Err(SettingsError::Descriptors {
                connections: 0,
                needs: reserved,
                allowed: files,
            });
        }
        if kind == Kind::Program && is_served {
            settings.mailbox_has_room(limits.body.saturating_add(HEAD_BYTES))?;
        }
        Ok(Self {
            workers,
            sandbox: sandbox::Settings {
                instances,
                memory: limits.memory,
                max_response: limits.response,
                max_body: limits.body,
                max_message: settings.program.message(),
                max_open_files: limits.open_files,
                max_open_files_in_all: u32::try_from(files).unwrap_or(u32::MAX),
                environment: Arc::new(settings.environment.settled()),
                output: settings.output,
                steps: settings.steps.clone(),
                slow: settings.slow,
                core_dumps: settings.core_dumps.clone(),
            },
            pool: pool::Settings {
                reuse: reuse(kind, settings),
                min: workers.min,
                max: workers.max,
                max_requests: settings.pool.max_requests,
                memory: limits.memory,
                idle_timeout: settings.pool.idle_timeout.unwrap_or(IDLE_TIMEOUT),
                queue: settings.pool.queue.unwrap_or(QUEUE),
                queue_timeout: settings.pool.queue_timeout.unwrap_or(QUEUE_TIMEOUT),
            },
            table: table::Settings {
                memory: limits.memory,
                processes: settings.program.processes(),
                children: settings.program.children.unwrap_or(CHILDREN),
                names: settings.program.names.unwrap_or(NAMES),
                mailbox: mailbox::Settings {
                    messages: settings
                        .program
                        .mailbox_messages
                        .unwrap_or(MAILBOX_MESSAGES),
                    bytes: usize::try_from(settings.program.mailbox_bytes()).unwrap_or(usize::MAX),
                },
            },
        })
    }
}

/// Whether a process serves more than one request: the mode and the kind must both allow it.
fn reuse(kind: Kind, settings: &Settings) -> Reuse {
    let is_reusable = match kind.reusable() {
        Reusable::Always => true,
        Reusable::OnRequest => settings.pool.reuse,
        Reusable::Never => false,
    };
    match settings.pool.mode() {
        Mode::Pool | Mode::Single if is_reusable => Reuse::ManyRequests,
        Mode::Pool | Mode::Single | Mode::PerRequest => Reuse::OneRequest,
    }
}

/// As many connections as the descriptors allow, up to the default.
fn fitting_connections(others: u64) -> usize {
    let left = descriptors::allowed().saturating_sub(others);
    let left = usize::try_from(left / PER_CONNECTION).unwrap_or(usize::MAX);
    left.clamp(1, CONNECTIONS)
}

fn cores() -> u32 {
    let cores = std::thread::available_parallelism();
    cores.map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OtherKind { setting, kind } => {
                write!(f, "{setting:?}: {}", setting.unused_by(*kind))
            }
            Self::OtherMode { setting, mode } => {
                write!(f, "{setting:?}: this has no meaning with mode {mode}")
            }
            Self::OutOfRange {
                setting,
                given,
                least,
                most,
            } => write!(f, "{setting:?} {given}: must be from {least} to {most}"),
            Self::Mailbox { given, needs } => write!(
                f,
                "a mailbox of {given} bytes: must have room for the largest message or request, \
                 {needs} bytes"
            ),
            Self::HostMemory { given, needs } => write!(
                f,
                "{given} bytes for all processes together: those that are kept alive may take \
                 {needs} bytes"
            ),
            Self::Descriptors {
                connections: 0,
                needs,
                allowed,
            } => write!(
                f,
                "the guests' files together need {needs} open files, and there are {allowed} for them: \
                 lower one of them, or raise the hard limit (ulimit -Hn)"
            ),
            Self::Descriptors {
                connections,
                needs,
                allowed,
            } => write!(
                f,
                "{connections} connections and the guests' files together need {needs} open files, \
                 and the system allows {allowed}: lower one of them, or raise the hard limit \
                 (ulimit -Hn)"
            ),
        }
    }
}

impl std::error::Error for SettingsError {}
