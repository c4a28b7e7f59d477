//! `--module cluster`: when a module is pushed and it is this host's turn, the host fetches it,
//! loads it beside the one that serves, and tells the others what has become of it.

use std::time::{Duration, Instant};

use wasm_pool_host::{Following, Turn};

use crate::control::Steering;

/// How often a module on trial is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What is said of a module whose trial has failed.
const FAILED: &str =
    "it has done nothing but fail for ten seconds, so that the one before serves again";

/// What is said of a module whose trial was cut short.
const CUT_SHORT: &str = "the host stops, or the pool takes no requests";

/// How the trial of a module has ended.
enum Trial {
    /// The module goes on serving.
    Kept,
    /// The module before serves again.
    FellBack,
    /// The host stops, or the pool was drained or has ended: whether the module can be used is not
    /// known.
    CutShort,
}

/// Why a module that was pushed is not used.
enum Unused {
    /// It can't be, for this reason. The one before goes on serving.
    Unfit(String),
    /// It was not tried to the end, for this reason.
    Untried(String),
}

/// Serves what is pushed, until the pool is gone or the host stops.
pub(super) async fn follow(steering: &Steering, mut following: Following) {
    let pool = following.pool().to_owned();
    while steering.is_pushed(&pool) {
        let stopping = async {
            let _stop = steering.stopped().await;
        };
        let Some(turn) = following.turn(stopping).await else {
            return;
        };
        if !steering.is_pushed(&pool) {
            return following.skipped().await;
        }
        let start = Instant::now();
        match take(steering, &mut following, &pool, &turn).await {
            Ok(module) => {
                let ms = start.elapsed().as_millis() as u64;
                tracing::info!(pool, module, ms, "a module was pushed, and is used");
            }
            Err(Unused::Unfit(reason)) => tracing::warn!(
                pool,
                reason,
                "a module was pushed, and can't be used: the one before goes on serving"
            ),
            Err(Unused::Untried(reason)) => tracing::info!(
                pool,
                reason,
                "a module was pushed, and was not tried to the end"
            ),
        }
    }
}

/// Takes a module whose turn it is, and returns its name once its trial is over. The place is held
/// until then, so that no host that is said to serve the module falls back later.
///
/// # Errors
/// Why it is not used. The others know.
async fn take(
    steering: &Steering,
    following: &mut Following,
    pool: &str,
    turn: &Turn,
) -> Result<String, Unused> {
    let swapped = async {
        let module = following.fetch(turn).await;
        let module = module.map_err(|error| error.to_string())?;
        let name = module.to_string();
        let swapped = steering.swap(pool, module).await;
        let (loading, before) = swapped.map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>((name, loading, before))
    };
    let (name, loading, before) = match swapped.await {
        Ok(swapped) => swapped,
        // The module is not at fault.
        Err(why) if steering.is_stopping() => {
            following.skipped().await;
            return Err(Unused::Untried(why));
        }
        Err(why) => {
            following.swapped(turn, Err(why.clone())).await;
            return Err(Unused::Unfit(why));
        }
    };
    match trial(steering, pool, loading).await {
        Trial::Kept => {
            following.swapped(turn, Ok(())).await;
            Ok(name)
        }
        Trial::FellBack => {
            steering.swapped(pool, before);
            following.swapped(turn, Err(FAILED.to_owned())).await;
            Err(Unused::Unfit(FAILED.to_owned()))
        }
        Trial::CutShort => {
            following.cut_short(turn).await;
            Err(Unused::Untried(CUT_SHORT.to_owned()))
        }
    }
}

/// Waits until the trial of this loading is over.
async fn trial(steering: &Steering, pool: &str, loading: u64) -> Trial {
    loop {
        let pools = steering.host().pools();
        let Some(info) = pools.iter().find(|info| info.name == pool) else {
            return Trial::CutShort;
        };
        if info.generation < loading {
            return Trial::FellBack;
        }
        // A pool that is drained has no module to come back to, so it is not on trial any more.
        if info.is_draining || steering.is_stopping() {
            return Trial::CutShort;
        }
        if !info.is_on_trial {
            return Trial::Kept;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            _ = steering.stopped() => {}
        }
    }
}
