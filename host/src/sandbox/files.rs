//! The server stub of `files`: each call becomes plain values, then a call of the `files` floor, then plain
//! values again. It adds the rules that are about processes: how many files one may have open, and that their copies
//! are its memory.

use wasmtime::Result;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use super::bindings::handler::wasm_pool::worker::files::{
    self as bindings, Entry, ErrorCode, Host, HostFile, Kind, Metadata, Timestamp,
};
use super::lifted::Bounded;
use super::state::{HasState, State};
use crate::files::{self, FileError, OpenFile};
use crate::steps::{Step, Timing};

/// The outer result is the process's: an error ends it (a handle that is not its own, say). The inner one
/// is the guest's to look at.
type Answer<T> = Result<Result<T, ErrorCode>>;

/// Gives a guest the functions of `files`. Those that take a path are not the generated ones: these would end a
/// process over a path that is too long to be copied, and the contract has an error code for it.
pub(super) fn add_to_linker<T: HasState>(linker: &mut Linker<T>) -> Result<()> {
    type Path = (Bounded<String>,);
    bindings::add_to_linker::<_, State>(linker, T::state)?;
    linker.allow_shadowing(true);
    let mut files = linker.instance("wasm-pool:worker/files@0.1.0")?;
    /// A stub whose one argument is a path.
    macro_rules! by_path {
        ($name:literal, $call:path) => {
            files.func_wrap_async($name, |mut store: StoreContextMut<'_, T>, (path,): Path| {
                Box::new(async move {
                    match path {
                        Bounded::Within(path) => {
                            Ok(($call(store.data_mut().state(), path).await?,))
                        }
                        Bounded::Beyond => Ok((Err(ErrorCode::NameTooLong),)),
                    }
                })
            })?
        };
    }
    by_path!("open", Host::open);
    by_path!("stat", Host::stat);
    by_path!("read-dir", Host::read_dir);
    linker.allow_shadowing(false);
    Ok(())
}

impl Host for State {
    async fn open(&mut self, path: String) -> Answer<Resource<OpenFile>> {
        let _timing = self.time_files();
        if !self.admit_file() {
            return Ok(Err(ErrorCode::TooManyOpen));
        }
        match self.root().open_file(&path).await {
            Ok(file) if self.limits.charge(file.held()) => Ok(Ok(self.table.push(file)?)),
            Ok(_no_memory) => {
                self.dismiss_file();
                Ok(Err(ErrorCode::TooManyOpen))
            }
            Err(error) => {
                self.dismiss_file();
                Ok(Err(error.into()))
            }
        }
    }

    async fn stat(&mut self, path: String) -> Answer<Metadata> {
        let _timing = self.time_files();
        Ok(self
            .root()
            .stat(&path)
            .await
            .map(Metadata::from)
            .map_err(ErrorCode::from))
    }

    async fn read_dir(&mut self, path: String) -> Answer<Vec<Entry>> {
        let _timing = self.time_files();
        let Some(_listing) = self.list() else {
            return Ok(Err(ErrorCode::TooManyOpen));
        };
        let entries = self.root().read_dir(&path).await;
        Ok(entries
            .map(|entries| entries.into_iter().map(Entry::from).collect())
            .map_err(ErrorCode::from))
    }
}

impl HostFile for State {
    async fn read(&mut self, file: Resource<OpenFile>, nbytes: u32) -> Answer<Vec<u8>> {
        let _timing = self.time_files();
        let file = self.table.get_mut(&file)?;
        let bytes = file.read(bounded(nbytes)).await;
        Ok(bytes.map(Vec::from).map_err(ErrorCode::from))
    }

    async fn read_at(
        &mut self,
        file: Resource<OpenFile>,
        offset: u64,
        nbytes: u32,
    ) -> Answer<Vec<u8>> {
        let _timing = self.time_files();
        let file = self.table.get(&file)?;
        let bytes = file.read_at(offset, bounded(nbytes)).await;
        Ok(bytes.map(Vec::from).map_err(ErrorCode::from))
    }

    fn stat(&mut self, file: Resource<OpenFile>) -> Answer<Metadata> {
        let _timing = self.time_files();
        Ok(self
            .table
            .get(&file)?
            .stat()
            .map(Metadata::from)
            .map_err(ErrorCode::from))
    }

    fn drop(&mut self, file: Resource<OpenFile>) -> Result<()> {
        let _timing = self.time_files();
        self.give_away(file).map(drop)
    }
}

impl State {
    /// A guest that calls here waits: meanwhile it is not at work itself.
    fn time_files(&self) -> Timing {
        self.settings().steps.time(Step::Files).out_of(Step::Run)
    }

    /// Takes an open file from the process.
    pub(super) fn give_away(&mut self, file: Resource<OpenFile>) -> Result<OpenFile> {
        let file = self.table.delete(file)?;
        self.limits.discharge(file.held());
        self.dismiss_file();
        Ok(file)
    }
}

fn bounded(nbytes: u32) -> usize {
    usize::try_from(nbytes).map_or(files::MAX_READ_BYTES, |nbytes| {
        nbytes.min(files::MAX_READ_BYTES)
    })
}

impl From<FileError> for ErrorCode {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NoEntry => Self::NoEntry,
            FileError::Access => Self::Access,
            FileError::IsDirectory => Self::IsDirectory,
            FileError::NotDirectory => Self::NotDirectory,
            FileError::NotSupported => Self::NotSupported,
            FileError::InvalidPath => Self::InvalidPath,
            FileError::NameTooLong => Self::NameTooLong,
            FileError::Loop => Self::Loop,
            FileError::TooManyOpen => Self::TooManyOpen,
            FileError::TooLarge => Self::TooLarge,
            FileError::Io => Self::Io,
        }
    }
}

impl From<files::Kind> for Kind {
    fn from(kind: files::Kind) -> Self {
        match kind {
            files::Kind::RegularFile => Self::RegularFile,
            files::Kind::Directory => Self::Directory,
        }
    }
}

impl From<files::Metadata> for Metadata {
    fn from(metadata: files::Metadata) -> Self {
        Self {
            kind: metadata.kind.into(),
            size: metadata.size,
            modified: Timestamp {
                seconds: metadata.modified_seconds,
                nanoseconds: metadata.modified_nanoseconds,
            },
        }
    }
}

impl From<files::Entry> for Entry {
    fn from(entry: files::Entry) -> Self {
        Self {
            name: entry.name,
            kind: entry.kind.into(),
        }
    }
}
