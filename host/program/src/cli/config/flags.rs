//! The flags of `serve`, as the command line declares them: what may stand in a file and in
//! variables, and for whom.

use std::sync::LazyLock;

use clap::{ArgAction, CommandFactory, Parser};

use super::super::Serve;

/// The flag that names the file. A file can't name another.
pub(super) const CONFIG: &str = "config";

/// What concerns the host as a whole, and no single pool.
const OF_THE_HOST: [&str; 33] = [
    "listen",
    "unix-mode",
    "reuse-port",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "h2c",
    "trusted-proxy",
    "proxy-protocol",
    "user",
    "no-confine",
    "log-file",
    "admin",
    "admin-allow-remote",
    "control",
    "max-connections",
    "max-memory-total",
    "header-timeout",
    "grace",
    "expose-pid",
    "steps",
    "log-level",
    "log-format",
    "cache",
    "no-cache",
    "watch",
    "nats",
    "cluster",
    "role",
    "name",
    "nats-creds",
    "nats-ca",
    "lost-after",
];

/// What names a file or a folder. In a file, a relative path begins at the file's folder.
const PATHS: [&str; 11] = [
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "log-file",
    "core-dumps",
    "module",
    "root",
    "cache",
    "env-file",
    "nats-creds",
    "nats-ca",
];

/// Of these pairs, the one that is given replaces the other.
pub(super) const RIVALS: [(&str, &str); 2] = [("cache", "no-cache"), ("no-cache", "cache")];

/// One flag.
#[derive(Debug)]
pub(super) struct Flag {
    /// The name, without dashes in front.
    pub(super) name: String,
    pub(super) takes: Takes,
    /// Whether it concerns the host as a whole.
    pub(super) is_of_the_host: bool,
    pub(super) is_path: bool,
    /// The default, if the command line has one.
    pub(super) default: Vec<String>,
}

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing: it is on or off.
    Nothing,
    OneValue,
    ManyValues,
}

/// A command line of `serve` without the program's name.
#[derive(Debug, Parser)]
#[command(name = "wasm-pool-host", no_binary_name = true)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) serve: Serve,
}

/// All flags that may stand in a file or in a variable.
pub(super) fn all() -> &'static [Flag] {
    static FLAGS: LazyLock<Vec<Flag>> = LazyLock::new(|| {
        let command = Line::command();
        let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
        let flags = flags.filter_map(|flag| {
            let name = flag.get_long()?.to_owned();
            let takes = if matches!(flag.get_action(), ArgAction::SetTrue) {
                Takes::Nothing
            } else if matches!(flag.get_action(), ArgAction::Set) {
                Takes::OneValue
            } else if matches!(flag.get_action(), ArgAction::Append) {
                Takes::ManyValues
            } else {
                return None; // --help and --version
            };
            let defaults = flag.get_default_values().iter();
            Some(Flag {
                takes,
                is_of_the_host: OF_THE_HOST.contains(&&*name),
                is_path: PATHS.contains(&&*name),
                default: defaults
                    .map(|value| value.to_string_lossy().into_owned())
                    .collect(),
                name,
            })
        });
        flags.collect()
    });
    &FLAGS
}

/// The flag of this name.
pub(super) fn find(name: &str) -> Option<&'static Flag> {
    all().iter().find(|flag| flag.name == name)
}

/// The known name that is most like this one.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Names that are less alike have nothing to do with each other.
    const ALIKE: f64 = 0.8;
    known
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| known)
}

/// Why a value of this flag is refused, if it is.
///
/// # Errors
/// The reason alone: the caller knows the place.
pub(super) fn check(flag: &Flag, text: &std::ffi::OsStr) -> Result<(), String> {
    let mut argument = std::ffi::OsString::from(format!("--{}=", flag.name));
    argument.push(text);
    match Line::try_parse_from([argument]) {
        Ok(_) => Ok(()),
        Err(error) => Err(reason(&error)),
    }
}

/// The reason in an error of the command line.
pub(super) fn reason(error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    use std::error::Error;
    if let Some(source) = error.source() {
        return source.to_string();
    }
    if let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue) {
        return format!("give one of {}", values.join(", "));
    }
    let text = error.render().to_string();
    let first = text.lines().next().unwrap_or_default();
    first.strip_prefix("error: ").unwrap_or(first).to_owned()
}
