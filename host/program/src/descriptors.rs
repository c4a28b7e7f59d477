//! What the system allows: a budget of file descriptors and of memory mappings, made before anything is
//! bound, so that the host does not run out of them in the middle of its work.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use wasm_pool_host::files::MAX_RECENT_FILES;
use wasm_pool_host::sandbox;

use crate::cli::{Connections, Plan};

/// Descriptors beside those of connections and guests: the root, the runtime, the log, files that were opened
/// a moment ago, and some to spare.
const OWN: u64 = 64 + MAX_RECENT_FILES as u64;

/// A guest that lists a folder has that open for a moment, and what a link in it leads to. The sandbox counts both
/// among the files that all guests have open.
const IN_PASSING: u64 = 2;

/// A connection has a socket and, while a file is being sent, that file.
const PER_CONNECTION: u64 = 2;

/// Raises the soft limit as far as it goes, and fits the plan to it.
///
/// # Errors
/// Where the plan needs more than the system allows: a sentence that names the flags.
pub(crate) fn fit(plan: &mut Plan) -> Result<(), String> {
    fit_mappings("--workers", plan.settings.sandbox.handlers)?;
    fit_mappings("--max-processes", plan.settings.sandbox.processes)?;
    let limit = raise();
    let per_guest = u64::from(plan.settings.sandbox.max_open_files) + IN_PASSING;
    let guests = u64::from(plan.settings.sandbox.handlers) * per_guest;
    let left = limit.saturating_sub(OWN + guests) / PER_CONNECTION;
    let left = usize::try_from(left).unwrap_or(usize::MAX);
    let (wanted, fits) = match plan.connections {
        Connections::AtMost(most) => (most.min(left).max(1), left > 0),
        Connections::Exactly(exactly) => (exactly, exactly <= left),
    };
    if !fits {
        return Err(format!(
            "--max-connections {wanted}, --workers and --max-open-files together need {} open files, and the \
             system allows {limit}: lower one of them, or raise the hard limit (ulimit -Hn)",
            (wanted as u64)
                .saturating_mul(PER_CONNECTION)
                .saturating_add(OWN + guests)
        ));
    }
    plan.settings.http.max_connections = wanted;
    let connections = (wanted as u64).saturating_mul(PER_CONNECTION);
    let guests = limit.saturating_sub(OWN + connections);
    plan.settings.sandbox.max_open_files_in_all = u32::try_from(guests).unwrap_or(u32::MAX);
    Ok(())
}

/// Raises the soft limit as far as it goes, and has a program's processes share what there is.
///
/// # Errors
/// Where there can't be so many processes: a sentence that names the flag.
pub(crate) fn fit_program(settings: &mut sandbox::Settings) -> Result<(), String> {
    fit_mappings("--max-processes", settings.processes)?;
    let guests = raise().saturating_sub(OWN);
    settings.max_open_files_in_all = u32::try_from(guests).unwrap_or(u32::MAX);
    Ok(())
}

/// Whether so many processes can have their memory mapped, if they have as few as a process can have. Those of the
/// module are counted once it is compiled.
///
/// # Errors
/// Where the system allows fewer: a sentence that names the flag.
fn fit_mappings(flag: &str, processes: u32) -> Result<(), String> {
    const FEWEST_MEMORIES: u32 = 1;
    let most = sandbox::most_instances(FEWEST_MEMORIES);
    if u64::from(processes) > most {
        return Err(format!(
            "{flag}: {processes} processes need more memory mappings than the system allows, which has room \
             for {most}: ask for fewer, or raise the limit (sysctl vm.max_map_count)"
        ));
    }
    Ok(())
}

/// The soft limit, after it was made as large as the hard one.
fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(_) => current.unwrap_or(u64::MAX),
    }
}
