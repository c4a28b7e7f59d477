//! `--watch`: when the module's file changes, the host loads it again, beside the one that serves.
//! A file that can't be loaded changes nothing, and the log says once why.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use wasm_pool_host::Module;

use crate::control::Steering;

/// A file counts as written once it has not changed for this long. Linkers and copies write in
/// pieces.
const SETTLED: Duration = Duration::from_millis(100);

/// The file is looked at this often even if no event comes: a link may lead to another folder, and
/// not all file systems tell of changes.
const LOOK: Duration = Duration::from_secs(1);

/// What tells one content of a file from another.
pub(crate) type Identity = (u64, u64, u64, Option<SystemTime>, i64, i64);

/// A pool's module that is watched.
struct Watched {
    module: Module,
    /// What the file was when it was last loaded, or could not be.
    used: Option<Identity>,
    _watcher: Option<RecommendedWatcher>,
}

/// Watches the files of all pools' modules for as long as the host serves.
pub(super) async fn watch(steering: &Steering) -> Infallible {
    let changed = Arc::new(Notify::new());
    let mut watched: HashMap<String, Watched> = HashMap::new();
    loop {
        let modules = steering.modules();
        watched.retain(|pool, _| modules.iter().any(|(name, ..)| name == pool));
        for (pool, module, used) in modules {
            if watched
                .get(&pool)
                .is_none_or(|watched| watched.module != module)
            {
                let new = Watched::new(module, used, &changed);
                watched.insert(pool.clone(), new);
            }
            if let Some(watched) = watched.get_mut(&pool)
                && watched.look(&changed).await
            {
                watched.reload(steering, &pool).await;
                changed.notify_one(); // it may have changed meanwhile
            }
        }
        // It does not matter what woke us: the files themselves tell whether they have changed.
        let _elapsed = tokio::time::timeout(LOOK, changed.notified()).await;
    }
}

impl Watched {
    fn new(module: Module, used: Option<Identity>, changed: &Arc<Notify>) -> Self {
        let watcher = match &module {
            Module::File(path) => watcher(path, changed),
            Module::BuiltIn | Module::Bytes(_) => None,
        };
        Self {
            module,
            used,
            _watcher: watcher,
        }
    }

    /// Whether the file has changed, and is whole.
    async fn look(&mut self, changed: &Notify) -> bool {
        let found = identity(&self.module);
        if found.is_none() || found == self.used {
            return false; // a file that is missing is about to be written
        }
        tokio::time::sleep(SETTLED).await;
        if identity(&self.module) != found {
            changed.notify_one();
            return false;
        }
        self.used = found;
        true
    }

    async fn reload(&self, steering: &Steering, pool: &str) {
        let (module, start) = (&self.module, Instant::now());
        match steering.reload(pool).await {
            Ok(()) => {
                let ms = start.elapsed().as_millis() as u64;
                tracing::info!(%module, ms, "the module has changed, and is used");
            }
            Err(error) => tracing::warn!(
                %module,
                reason = format!("{error:#}"),
                "the module has changed, and can't be used: the one before goes on serving"
            ),
        }
    }
}

/// What the file is now. Taken before a file is loaded, so that a change meanwhile is noticed.
pub(super) fn identity(module: &Module) -> Option<Identity> {
    let Module::File(path) = module else {
        return None;
    };
    let found: Metadata = path.metadata().ok()?;
    let modified = found.modified().ok();
    let (changed, nanos) = (found.ctime(), found.ctime_nsec());
    Some((
        found.dev(),
        found.ino(),
        found.len(),
        modified,
        changed,
        nanos,
    ))
}

/// Notifies of events in the file's folder: editors and compilers rename new files over old ones.
fn watcher(path: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let notify = Arc::clone(changed);
    let watching = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
        // Whoever reads a file changes nothing.
        Ok(Event {
            kind: EventKind::Access(_),
            ..
        }) => {}
        Ok(_) | Err(_) => notify.notify_one(),
    });
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let watching = watching.and_then(|mut watcher| {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let told = watching.inspect_err(|error| {
        tracing::warn!(%error, "the system tells of no changes: the module is looked at each second");
    });
    told.ok()
}
