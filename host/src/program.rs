//! A *program* that runs by itself, without HTTP. Its root process gets arguments, and the program
//! ends with its root process. A command runs in the same way: it is one process.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::exit::Exit;
use crate::guests::{self, Division, Plan, StartError};
use crate::host::Loaded;
use crate::kind::Kind;
use crate::process::{NotStarted, Process};
use crate::sandbox;
use crate::settings::Settings;
use crate::table::Table;
use crate::tree::Tree;

/// How long an ended program waits for a reader of its output that reads nothing, for example a
/// pager that waits for a person.
const UNREAD: Duration = Duration::from_secs(10);

/// The same for a program that was stopped.
const UNREAD_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// A compiled program or command.
#[derive(Debug)]
pub struct Program(Loaded);

/// Why a program could not run to its end.
#[derive(Debug)]
pub enum RunError {
    /// The program could not be started.
    Start(StartError),
    /// The output can't be written. [`BrokenPipe`](io::ErrorKind::BrokenPipe) if its reader has
    /// gone.
    Output(io::Error),
}

impl Program {
    /// Opens the root folder and compiles the module.
    ///
    /// # Errors
    /// If the root folder can't be opened, or the module is neither a program nor a command that
    /// this host can run.
    pub async fn load(settings: Settings) -> Result<Self, StartError> {
        Loaded::new(settings).await?.try_into()
    }

    /// Runs the program until its root process ends, and returns its exit. If `stop` completes
    /// first, returns `None`. In both cases all processes end.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(
        self,
        args: Vec<String>,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Exit>, RunError> {
        let mut stop = pin!(stop);
        let exit = match self.0.kind().is_command() {
            true => self.run_command(args, stop.as_mut()).await?,
            false => self.run_tree(args, stop.as_mut()).await?,
        };
        let time_limit = match exit {
            Some(_) => UNREAD,
            None => UNREAD_WHEN_STOPPED,
        };
        tokio::select! {
            bytes = sandbox::output_written(time_limit) => if bytes > 0 {
                tracing::warn!(bytes, "nobody reads the output: the rest of it is lost");
            },
            () = stop, if exit.is_some() => {}
            error = sandbox::output_failed() => return Err(RunError::Output(error)),
        }
        Ok(exit)
    }

    async fn run_tree(
        self,
        args: Vec<String>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Exit>, RunError> {
        let tree = self.tree().map_err(RunError::Start)?;
        let _closing = tree.closing();
        let root = tree.start_root(args).map_err(StartError::ProgramRoot);
        let mut root = root.map_err(RunError::Start)?;
        let exit = tokio::select! {
            exit = root.ended() => Some(exit),
            () = stop => None,
            error = sandbox::output_failed() => return Err(RunError::Output(error)),
        };
        tree.end_all().await;
        Ok(exit)
    }

    async fn run_command(
        self,
        args: Vec<String>,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Exit>, RunError> {
        let kind = self.0.kind();
        let (compiled, root, mut settings) = self.0.into_parts();
        settings.environment.args = args;
        let plan = plan_alone(kind, &settings).map_err(RunError::Start)?;
        let table = Table::alone(plan.table);
        let prepared = compiled.reserve_pooled(plan.sandbox, root, &table);
        let prepared = prepared
            .map_err(StartError::Load)
            .map_err(RunError::Start)?;
        let running = async {
            let time_limit = settings.limits.request_time;
            let Ok(life) = table.enter_pooled(kind, settings.limits.memory) else {
                return Exit::Memory;
            };
            match Process::start(&prepared, life, time_limit).await {
                Ok(process) => process.run().await,
                Err(NotStarted(exit, _logged)) => exit,
            }
        };
        // Stopped, it is dropped here, and so is its process.
        tokio::select! {
            exit = running => Ok(Some(exit)),
            () = stop => Ok(None),
            error = sandbox::output_failed() => Err(RunError::Output(error)),
        }
    }

    fn tree(self) -> Result<Arc<Tree>, StartError> {
        let (compiled, root, settings) = self.0.into_parts();
        let plan = plan_alone(Kind::Program, &settings)?;
        let table = Table::alone(plan.table);
        let time_limit = settings.limits.request_time;
        let tree = guests::tree(&compiled, plan.sandbox, root, table, time_limit);
        tree.map_err(StartError::Load)
    }
}

fn plan_alone(kind: Kind, settings: &Settings) -> Result<Plan, StartError> {
    let files = Division::alone(kind, settings);
    let plan = files.and_then(|files| Plan::new(kind, settings, files, false));
    plan.map_err(StartError::Settings)
}

impl TryFrom<Loaded> for Program {
    type Error = StartError;

    /// # Errors
    /// If the module is neither a program nor a command.
    fn try_from(loaded: Loaded) -> Result<Self, StartError> {
        match loaded.kind() {
            Kind::Program | Kind::Command02 | Kind::Command03 | Kind::CommandCore => {
                Ok(Self(loaded))
            }
            kind @ (Kind::Handler | Kind::Http02 | Kind::Http03) => {
                Err(StartError::NotAProgram(kind))
            }
        }
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => error.fmt(f),
            Self::Output(error) => write!(f, "the output can't be written: {error}"),
        }
    }
}

impl std::error::Error for RunError {}
