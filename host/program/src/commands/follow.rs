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

/// Serves what is pushed, until the pool is gone.
pub(super) async fn follow(steering: &Steering, mut following: Following) {
    let pool = following.pool().to_owned();
    loop {
        let turn = following.turn().await;
        if !steering.is_pushed(&pool) {
            return following.skipped(&turn).await;
        }
        let start = Instant::now();
        match take(steering, &mut following, &pool, &turn).await {
            Ok(module) => {
                let ms = start.elapsed().as_millis() as u64;
                tracing::info!(pool, module, ms, "a module was pushed, and is used");
            }
            Err(reason) => tracing::warn!(
                pool,
                reason,
                "a module was pushed, and can't be used: the one before goes on serving"
            ),
        }
    }
}

/// Takes a module whose turn it is, and returns its name.
///
/// # Errors
/// Why it can't be used. The others know.
async fn take(
    steering: &Steering,
    following: &mut Following,
    pool: &str,
    turn: &Turn,
) -> Result<String, String> {
    let digest = following.serving().to_owned();
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
            following.skipped(turn).await;
            return Err(why);
        }
        Err(why) => {
            following.swapped(turn, Err(why.clone())).await;
            return Err(why);
        }
    };
    // Others follow the first host only once its clients have been answered, or ten seconds are
    // over. After that, each of them has its own trial.
    if !turn.is_first {
        following.swapped(turn, Ok(())).await;
    }
    let is_kept = is_kept(steering, pool, loading).await;
    match (is_kept, turn.is_first) {
        (true, true) => following.swapped(turn, Ok(())).await,
        (true, false) => {}
        (false, _) => {
            steering.swapped(pool, before);
            following.came_back(turn, &digest, FAILED.to_owned()).await;
            return Err(FAILED.to_owned());
        }
    }
    Ok(name)
}

/// Waits until the trial of this loading is over, and returns whether it goes on serving.
async fn is_kept(steering: &Steering, pool: &str, loading: u64) -> bool {
    loop {
        let pools = steering.host().pools();
        let Some(info) = pools.iter().find(|info| info.name == pool) else {
            return true; // the pool has ended
        };
        if info.generation < loading {
            return false;
        }
        if !info.is_on_trial {
            return true;
        }
        tokio::time::sleep(LOOK).await;
    }
}
