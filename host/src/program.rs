//! A *program* can run by itself, without HTTP: its root is started with arguments, and its end is
//! the program's end.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::exit::Exit;
use crate::guests::{self, Plan, StartError};
use crate::host::Loaded;
use crate::sandbox;
use crate::settings::Settings;
use crate::table::{Kind, Table};
use crate::tree::Tree;

/// How long a program that has ended waits for a reader of its output who reads nothing: a pager
/// waits for a person.
const UNREAD: Duration = Duration::from_secs(10);

/// The same for a program that was stopped.
const UNREAD_WHEN_STOPPED: Duration = Duration::from_secs(1);

/// A program that is compiled.
#[derive(Debug)]
pub struct Program(Loaded);

/// Why a program could not be run to its end.
#[derive(Debug)]
pub enum RunError {
    /// It could not be started.
    Start(StartError),
    /// Its output can't be written; [`BrokenPipe`](io::ErrorKind::BrokenPipe) where its reader has
    /// gone.
    Output(io::Error),
}

impl Program {
    /// Opens the root folder and compiles the module.
    ///
    /// # Errors
    /// Where the root folder can't be opened, or the module is not a program that can be run here.
    pub async fn load(settings: Settings) -> Result<Self, StartError> {
        let loaded = Loaded::new(settings).await?;
        match loaded.kind() {
            Kind::Program => Ok(Self(loaded)),
            Kind::Handler => Err(StartError::NotAProgram),
        }
    }

    /// Runs the program until its root ends, or until `stop` completes: none then. All its
    /// processes end with it.
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
        let patience = match exit {
            Some(_) => UNREAD,
            None => UNREAD_WHEN_STOPPED,
        };
        tokio::select! {
            bytes = sandbox::output_written(patience) => if bytes > 0 {
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
        let patience = settings.limits.request_time;
        let tree = guests::tree(compiled, plan.sandbox, root, table, patience);
        tree.map_err(StartError::Load)
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
