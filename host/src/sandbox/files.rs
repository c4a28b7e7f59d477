//! The server stub of `files`. It turns the arguments of a call into plain values, calls the
//! `files` floor, and turns the outcome into values of the contract. It adds two rules: how many
//! files a process may have open, and that copies of small files count as the process's memory.

use wasmtime::Result;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};

use super::bindings::handler::wasm_pool::worker::files::{
    self as bindings, Chosen, Entry, ErrorCode, Host, HostFile, Kind, Metadata, Opened, Timestamp,
};
use super::contract;
use super::lifted::Bounded;
use super::rpc::{ByDebug, Rpc};
use super::state::{HasState, State};
use crate::files::{self, FileError, OpenFile};
use crate::steps::{Step, Timing};
use crate::tally::Interface;
use crate::text;

/// An error of the outer result ends the process, for example when it uses a handle that is not its
/// own. The guest sees the inner result.
type Answer<T> = Result<Result<T, ErrorCode>>;

/// One more file is open while a variant is opened: the original.
const ORIGINAL: u32 = 1;

/// Two more files are open while a folder is listed: the folder, and the target of a link in it.
const FOLDER_AND_LINK: u32 = 2;

/// Links the functions of `files`. The generated functions would end a process if a path is too
/// long to be copied. The contract has an error code for this case, so functions that take a path
/// are written here.
pub(super) fn add_to_linker<T: HasState>(linker: &mut Linker<T>) -> Result<()> {
    type Path = (Bounded<String>,);
    bindings::add_to_linker::<_, State>(linker, T::state)?;
    linker.allow_shadowing(true);
    let mut files = linker.instance(&contract::interface("files"))?;
    /// Defines a stub with a path as its only argument.
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
    files.func_wrap_async(
        "open-variant",
        |mut store: StoreContextMut<'_, T>,
         (path, variants): (Bounded<String>, Bounded<Vec<String>>)| {
            Box::new(async move {
                match (path, variants) {
                    (Bounded::Within(path), Bounded::Within(variants)) => {
                        let state = store.data_mut().state();
                        Ok((Host::open_variant(state, path, variants).await?,))
                    }
                    (Bounded::Beyond, _) => Ok((Err(ErrorCode::NameTooLong),)),
                    (Bounded::Within(_), Bounded::Beyond) => Ok((Err(ErrorCode::TooLarge),)),
                }
            })
        },
    )?;
    by_path!("stat", Host::stat);
    by_path!("read-dir", Host::read_dir);
    linker.allow_shadowing(false);
    Ok(())
}

impl Host for State {
    async fn open(&mut self, path: String) -> Answer<Opened> {
        let _timing = self.time_files();
        let rpc = self.rpc(Interface::Files, "open", || text::quoted(&path));
        if !self.admit_file() {
            return rpc.answers(self, Err(ErrorCode::TooManyOpen));
        }
        let opened = self.root_folder().open_file(&path).await;
        let opened = self.push_file(opened)?;
        rpc.answers(self, opened)
    }

    async fn open_variant(&mut self, path: String, variants: Vec<String>) -> Answer<Chosen> {
        let _timing = self.time_files();
        let arguments = || ByDebug((text::quoted(&path), &variants));
        let rpc = self.rpc(Interface::Files, "open-variant", arguments);
        if variants.len() > files::MAX_VARIANTS {
            return rpc.answers(self, Err(ErrorCode::TooLarge));
        }
        if !self.admit_file() {
            return rpc.answers(self, Err(ErrorCode::TooManyOpen));
        }
        let briefly_open = self.admit_briefly(ORIGINAL);
        let variants = match briefly_open {
            Some(_) => &variants[..],
            None => &[],
        };
        let (opened, which) = match self.root_folder().open_variant(&path, variants).await {
            Ok((opened, which)) => (Ok(opened), which),
            Err(error) => (Err(error), None),
        };
        let opened = self.push_file(opened)?;
        let which = which.and_then(|nth| u32::try_from(nth).ok());
        rpc.answers(self, opened.map(|opened| Chosen { opened, which }))
    }

    async fn stat(&mut self, path: String) -> Answer<Metadata> {
        let _timing = self.time_files();
        let rpc = self.rpc(Interface::Files, "stat", || text::quoted(&path));
        let found = self.root_folder().stat(&path).await;
        rpc.answers(self, found.map(Metadata::from).map_err(ErrorCode::from))
    }

    async fn read_dir(&mut self, path: String) -> Answer<Vec<Entry>> {
        let _timing = self.time_files();
        let rpc = self.rpc(Interface::Files, "read-dir", || text::quoted(&path));
        let Some(_open) = self.admit_briefly(FOLDER_AND_LINK) else {
            return rpc.answers(self, Err(ErrorCode::TooManyOpen));
        };
        let entries = self.root_folder().read_dir(&path).await;
        let entries = entries.map(|entries| entries.into_iter().map(Entry::from).collect());
        rpc.answers(self, entries.map_err(ErrorCode::from))
    }
}

impl HostFile for State {
    async fn read(&mut self, file: Resource<OpenFile>, nbytes: u32) -> Answer<Vec<u8>> {
        let _timing = self.time_files();
        let number = file.rep();
        let arguments = || format!("file {number}, {nbytes}");
        let rpc = self.rpc(Interface::Files, "file.read", arguments);
        let file = self.table.get_mut(&file)?;
        let bytes = file.read(bounded(nbytes)).await;
        rpc.answers(self, bytes.map(Vec::from).map_err(ErrorCode::from))
    }

    async fn read_at(
        &mut self,
        file: Resource<OpenFile>,
        offset: u64,
        nbytes: u32,
    ) -> Answer<Vec<u8>> {
        let _timing = self.time_files();
        let number = file.rep();
        let arguments = || format!("file {number}, {offset}, {nbytes}");
        let rpc = self.rpc(Interface::Files, "file.read-at", arguments);
        let file = self.table.get(&file)?;
        let bytes = file.read_at(offset, bounded(nbytes)).await;
        rpc.answers(self, bytes.map(Vec::from).map_err(ErrorCode::from))
    }

    fn stat(&mut self, file: Resource<OpenFile>) -> Answer<Metadata> {
        let _timing = self.time_files();
        let number = file.rep();
        let arguments = || format!("file {number}");
        let rpc = self.rpc(Interface::Files, "file.stat", arguments);
        let found = self.table.get(&file)?.stat();
        rpc.answers(self, found.map(Metadata::from).map_err(ErrorCode::from))
    }

    fn drop(&mut self, file: Resource<OpenFile>) -> Result<()> {
        let _timing = self.time_files();
        let number = file.rep();
        let arguments = || format!("file {number}");
        let rpc = self.rpc(Interface::Files, "file.drop", arguments);
        self.remove_file(file)?;
        rpc.returns(&self.row, 0, || "ok");
        Ok(())
    }
}

/// A result, for whoever traces the process.
trait Shown {
    fn shown(&self) -> String;

    /// Bytes that it copies, beside names and numbers.
    fn bytes(&self) -> usize {
        0
    }
}

impl Rpc {
    fn answers<T: Shown>(
        self,
        state: &State,
        answer: std::result::Result<T, ErrorCode>,
    ) -> Answer<T> {
        let bytes = answer.as_ref().map_or(0, Shown::bytes);
        self.returns(&state.row, bytes, || match &answer {
            Ok(value) => value.shown(),
            Err(error) => format!("error {}", error.name()),
        });
        Ok(answer)
    }
}

impl Shown for Opened {
    fn shown(&self) -> String {
        format!("file {}, {}", self.file.rep(), self.metadata.shown())
    }
}

impl Shown for Chosen {
    fn shown(&self) -> String {
        match self.which {
            Some(which) => format!("variant {which}: {}", self.opened.shown()),
            None => self.opened.shown(),
        }
    }
}

impl Shown for Metadata {
    fn shown(&self) -> String {
        match self.kind {
            Kind::Directory => "directory".to_owned(),
            Kind::RegularFile => format!("{} bytes", self.size),
        }
    }
}

impl Shown for Vec<Entry> {
    fn shown(&self) -> String {
        format!("{} entries", self.len())
    }
}

impl Shown for Vec<u8> {
    fn shown(&self) -> String {
        format!("{} bytes", self.len())
    }

    fn bytes(&self) -> usize {
        self.len()
    }
}

impl State {
    /// Times the call as files, and not as run: the guest does no work of its own meanwhile.
    fn time_files(&self) -> Timing {
        self.settings().steps.time(Step::Files).out_of(Step::Run)
    }

    /// Stores a just opened file in the process's table of handles. [`State::admit_file`] has
    /// counted it before.
    fn push_file(&mut self, opened: Result<files::Opened, FileError>) -> Answer<Opened> {
        let error = match opened {
            Ok(files::Opened { file, metadata }) if self.limits.charge(file.held()) => {
                let (file, metadata) = (self.table.push(file)?, metadata.into());
                return Ok(Ok(Opened { file, metadata }));
            }
            Ok(_no_memory) => ErrorCode::TooManyOpen,
            Err(error) => error.into(),
        };
        self.release_file();
        Ok(Err(error))
    }

    /// Takes an open file out of the process's table of handles.
    pub(super) fn remove_file(&mut self, file: Resource<OpenFile>) -> Result<OpenFile> {
        let file = self.table.delete(file)?;
        self.limits.discharge(file.held());
        self.release_file();
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

impl From<files::EntryKind> for Kind {
    fn from(kind: files::EntryKind) -> Self {
        match kind {
            files::EntryKind::RegularFile => Self::RegularFile,
            files::EntryKind::Directory => Self::Directory,
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
