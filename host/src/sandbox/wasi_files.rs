//! *WASI files*: what the kernel has cached is opened and read at once, on the same thread.
//! wasmtime hands each call of `wasi:filesystem` to another thread, which costs several times what
//! the call does. What may have to wait for a disk still goes that way.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::{ReadWriteFlags, preadv2};
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, OpenMode, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, Host, HostDescriptor, OpenFlags, PathFlags,
};

use super::state::HasState;
use crate::tally::Interface;
use crate::text;

/// The interface, in the version that wasmtime links. Other versions of 0.2 are found by it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";
const OPEN: &str = "[method]descriptor.open-at";

/// What a guest gives to open a file: the folder, and the rest as the interface has it.
type Asked = (
    Resource<Descriptor>,
    PathFlags,
    String,
    OpenFlags,
    DescriptorFlags,
);

/// Replaces the function that opens files.
pub(super) fn add_to_linker<T: HasState>(linker: &mut Linker<T>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap_async(OPEN, |mut store, asked: Asked| {
        Box::new(async move {
            let (folder, path_flags, path, flags, mode) = asked;
            let state = store.data_mut().state();
            let rpc = state.rpc(Interface::Files, "wasi open-at", || text::quoted(&path));
            let mut view = state.filesystem();
            let cached = match view.table.get(&folder)? {
                Descriptor::Dir(folder)
                    if flags == OpenFlags::empty() && mode == DescriptorFlags::READ =>
                {
                    cached(
                        folder,
                        &path,
                        path_flags.contains(PathFlags::SYMLINK_FOLLOW),
                    )
                }
                Descriptor::Dir(_) | Descriptor::File(_) => None,
            };
            let opened = match cached {
                Some(file) => Ok(view.table.push(file)?),
                None => {
                    let opened = view.open_at(folder, path_flags, path, flags, mode).await;
                    opened.map_err(|error| view.convert_error_code(error))
                }
            };
            let opened: std::result::Result<_, ErrorCode> = match opened {
                Ok(file) => Ok(file),
                Err(code) => Err(code?),
            };
            rpc.returns(&store.data_mut().state().row, 0, || match &opened {
                Ok(_) => "ok".to_owned(),
                Err(error) => format!("error {error:?}"),
            });
            Ok((opened,))
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// A regular file whose way and whose beginning the kernel has cached. It may be read on this
/// thread: what follows a cached beginning is cached too, or is being read ahead. `follows` says
/// whether the path may end in a link.
fn cached(folder: &Dir, path: &str, follows: bool) -> Option<Descriptor> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    flags.set(OFlags::NOFOLLOW, !follows);
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::CACHED;
    let file = openat2(&folder.dir, path, flags, Mode::empty(), resolve).ok()?;
    let found = fstat(&file).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || !begins_cached(&file) {
        return None;
    }
    let file = File::new(file.into(), FsPerms::ReadOnly, OpenMode::READ, true);
    Some(Descriptor::File(file))
}

/// Whether the first byte can be read without waiting. Of an empty file there is none to wait for.
fn begins_cached(file: &OwnedFd) -> bool {
    let mut byte = [0];
    let mut buffers = [std::io::IoSliceMut::new(&mut byte)];
    preadv2(file.as_fd(), &mut buffers, 0, ReadWriteFlags::NOWAIT).is_ok()
}
