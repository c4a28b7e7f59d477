//! A *program* that runs by itself, without HTTP. Its root process gets arguments, and the program
//! ends with its root process.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::exit::Exit;
use crate::guests::{self, Plan, StartError};
use crate::host::Loaded;
use crate::kind::Kind;
use crate::sandbox;
use crate::settings::Settings;
use crate::table::Table;
use crate::tree::Tree;

/// How long an ended program waits for a reader of its output that reads nothing, for example a
/// pager that waits for a person.
const UNREAD: Duration = Duration::from_secs(10);

/// The same for a program that was stopped.
const UNREAD_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// A compiled program.
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
    /// If the root folder can't be opened, or the module is not a program that this host can run.
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
        let tree = self.tree().map_err(RunError::Start)?;
        let _closing = tree.closing();
        let root = tree.start_root(args).map_err(StartError::ProgramRoot);
        let mut root = root.map_err(RunError::Start)?;
        let mut stop = std::pin::pin!(stop);
        let exit = tokio::select! {
            exit = root.ended() => Some(exit),
            () = stop.as_mut() => None,
            error = sandbox::output_failed() => return Err(RunError::Output(error)),
        };
        tree.end_all().await;
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

    fn tree(self) -> Result<Arc<Tree>, StartError> {
        let (compiled, root, settings) = self.0.into_parts();
        let plan = Plan::new(Kind::Program, &settings, false).map_err(StartError::Settings)?;
        let table = Arc::new(Table::new(plan.table));
        let time_limit = settings.limits.request_time;
        let tree = guests::tree(compiled, plan.sandbox, root, table, time_limit);
        tree.map_err(StartError::Load)
    }
}

impl TryFrom<Loaded> for Program {
    type Error = StartError;

    /// # Errors
    /// If the module is not a program.
    fn try_from(loaded: Loaded) -> Result<Self, StartError> {
        match loaded.kind() {
            Kind::Program => Ok(Self(loaded)),
            Kind::Handler
            | Kind::Http02
            | Kind::Http03
            | Kind::Command02
            | Kind::Command03
            | Kind::CommandCore => Err(StartError::NotAProgram),
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
