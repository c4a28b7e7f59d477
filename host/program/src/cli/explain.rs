//! The library's errors in the words of the command line: they name the flags that would help.

use bytesize::ByteSize;
use wasm_pool_host::{LoadError, Setting, SettingsError, StartError};

/// The units of sizes.
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// Why a host could not be started.
pub(crate) fn start(error: &StartError) -> String {
    match error {
        StartError::Root { path, error } => {
            format!("--root {}: can't open this folder: {error}", path.display())
        }
        StartError::Settings(error) => settings(error),
        StartError::Load(error) => load(error),
        StartError::NotAProgram(_) => format!("{error}: serve it with --module"),
        StartError::Memory { memory, .. } => format!(
            "--memory {}: {error}; give it more, such as --memory {}MiB",
            as_flag(*memory),
            memory.div_ceil(MIB) * 2
        ),
        StartError::Probe(..) => format!("--probe: {error}"),
        StartError::Pool(name, error) => format!("pool {name}: {}", start(error)),
        StartError::Process(_)
        | StartError::ProgramRoot(_)
        | StartError::ProgramEnded(_)
        | StartError::Stopping
        | StartError::Superseded
        | StartError::NoPool
        | StartError::Thread(_) => error.to_string(),
    }
}

/// Why settings can't be used.
pub(crate) fn settings(error: &SettingsError) -> String {
    match error {
        SettingsError::OtherKind { setting, kind } => {
            format!("{}: {}", flag(*setting), setting.unused_by(*kind))
        }
        SettingsError::OtherMode { setting, mode } => {
            format!("{}: this has no meaning with --mode {mode}", flag(*setting))
        }
        SettingsError::OutOfRange {
            setting,
            given,
            least,
            most,
        } => {
            let is_size = *setting == Setting::Memory;
            let shown = |number: u64| match is_size {
                true => ByteSize(number).to_string(),
                false => number.to_string(),
            };
            let (given, least, most) = (shown(*given), shown(*least), shown(*most));
            format!("{} {given}: must be from {least} to {most}", flag(*setting))
        }
        SettingsError::Mailbox { given, needs } => format!(
            "--max-mailbox-bytes {}: must have room for the largest message, --max-message, and for the \
             largest request, --max-body and its head: {} together",
            ByteSize(*given),
            ByteSize(*needs)
        ),
        SettingsError::HostMemory { given, needs } => format!(
            "--max-memory-total {}: the processes that are kept alive, each with its --memory, may take {}; \
             give as much, or lower --memory or --workers",
            as_flag(*given),
            ByteSize(*needs)
        ),
        SettingsError::Descriptors {
            connections: 0,
            needs,
            allowed,
        } => format!(
            "--workers and --max-open-files together need {needs} open files, and {allowed} are left for this \
             pool: lower one of them, or raise the hard limit (ulimit -Hn)"
        ),
        SettingsError::Descriptors {
            connections,
            needs,
            allowed,
        } => format!(
            "--max-connections {connections}, --workers and --max-open-files together need {needs} open \
             files, each as it is given or by default, and the system allows {allowed}: raise the hard limit to \
             {needs} (ulimit -Hn, or LimitNOFILE= of a unit), or give lower values"
        ),
    }
}

/// Whether an error is about what was asked for, and not about what was found.
pub(crate) fn is_usage(error: &StartError) -> bool {
    match error {
        StartError::Settings(_) | StartError::Load(LoadError::Mappings { .. }) => true,
        StartError::Pool(_, error) => is_usage(error),
        StartError::Root { .. }
        | StartError::Load(_)
        | StartError::NotAProgram(_)
        | StartError::Process(_)
        | StartError::Memory { .. }
        | StartError::ProgramRoot(_)
        | StartError::ProgramEnded(_)
        | StartError::Probe(..)
        | StartError::NoPool
        | StartError::Superseded
        | StartError::Stopping
        | StartError::Thread(_) => false,
    }
}

fn load(error: &LoadError) -> String {
    const FEWER: &str = "allow fewer (--workers, or --max-processes for a program)";
    match error {
        LoadError::TooLarge { needs, memory } => format!(
            "--memory {}: the module starts with {}; give --memory {}MiB or more",
            as_flag(*memory),
            ByteSize(*needs),
            needs.div_ceil(MIB)
        ),
        LoadError::Mappings { .. } => {
            format!("{error}: {FEWER}, or raise the limit (sysctl vm.max_map_count)")
        }
        LoadError::Reserve { .. } => format!("{error}; {FEWER}, or less --memory for each"),
        LoadError::Contract { .. } => {
            format!("{error}; `wasm-pool-host check` says what it needs")
        }
        LoadError::CoreDumps { .. } => format!("--core-dumps: {error}"),
        LoadError::Read { .. }
        | LoadError::NotAFile { .. }
        | LoadError::FileTooLarge { .. }
        | LoadError::NotWasm { .. }
        | LoadError::Unfit { .. }
        | LoadError::Compile { .. }
        | LoadError::Host(_) => error.to_string(),
    }
}

fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Memory => "--memory",
        Setting::Connections => "--max-connections",
        Setting::Mode => "--mode",
        Setting::Reuse => "--reuse",
        Setting::Workers => "--workers",
        Setting::MaxRequests => "--max-requests",
        Setting::IdleTimeout => "--idle-timeout",
        Setting::Queue => "--queue",
        Setting::QueueTimeout => "--queue-timeout",
        Setting::Processes => "--max-processes",
        Setting::Children => "--max-children",
        Setting::MailboxMessages => "--max-mailbox",
        Setting::MailboxBytes => "--max-mailbox-bytes",
        Setting::Message => "--max-message",
        Setting::Names => "--max-names",
        Setting::Steps => "--steps",
        Setting::Slow => "--slow",
    }
}

/// A size as it may be given: without a fraction.
fn as_flag(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) {
        format!("{}MiB", bytes / MIB)
    } else {
        format!("{}KiB", bytes / KIB)
    }
}
