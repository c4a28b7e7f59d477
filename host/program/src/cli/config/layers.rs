//! *Layers* of values, one for each kind of source. The upper ones cover the lower ones. What shows
//! from above is a command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser};

use super::super::Serve;
use super::OfTheHost;
use super::flags::{self, Flag, Line, RIVALS, Takes};

/// What a variable of a flag begins with. The rest is the flag in capitals, with `_` for `-`.
const VARIABLE: &str = "WASM_POOL_HOST_";

/// The values from one kind of source, by the flag's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer(BTreeMap<&'static str, Value>);

/// What one flag is set to.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// One text, or several of a flag that may be repeated. `true` or `false` of one without value.
    pub(super) texts: Vec<OsString>,
    pub(super) source: Source,
}

/// Where a value stands.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Flag,
    /// A variable of this name.
    Variable(String),
    File {
        path: PathBuf,
        /// From 1 on.
        line: usize,
    },
}

/// All layers but that of a pool.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) flags: Layer,
    pub(super) variables: Layer,
    /// The top of the file.
    pub(super) file: Layer,
}

/// What was given on the command line itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(BTreeMap<String, Vec<OsString>>);

impl Given {
    /// What these matches of `serve` were given, and not what they have by default.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let command = Line::command();
        let given = command.get_arguments().filter_map(|flag| {
            let id = flag.get_id().as_str();
            let source = matches.value_source(id)?;
            let texts = matches.try_get_raw(id).ok().flatten();
            let texts = texts.map(|texts| texts.map(OsString::from).collect());
            let name = flag.get_long().unwrap_or_default().to_owned();
            (source == ValueSource::CommandLine).then(|| (name, texts.unwrap_or_default()))
        });
        Self(given.collect())
    }

    /// The same as a layer. A path without a flag stands for the flag that it is.
    pub(super) fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        for (name, texts) in &self.0 {
            let path = || texts.first().map(PathBuf::from);
            let name = match &**name {
                "" if path().is_some_and(|path| path.is_dir()) => "root",
                "" => "module",
                name => name,
            };
            if let Some(flag) = flags::find(name) {
                layer.set(flag, texts.clone(), Source::Flag);
            }
        }
        layer
    }
}

impl Layer {
    pub(super) fn set(&mut self, flag: &'static Flag, texts: Vec<OsString>, source: Source) {
        self.0.insert(&flag.name, Value { texts, source });
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Where the value stands that a problem is about: the problem begins with its flag.
    pub(super) fn source(&self, problem: &str) -> Option<&Source> {
        let is_part = |char: char| char.is_ascii_alphanumeric() || char == '-';
        let flag = problem.strip_prefix("--")?;
        let flag = flag.split(|char| !is_part(char)).next()?;
        self.get(flag).map(|value| &value.source)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Covers this layer with another.
    fn cover(&mut self, upper: &Self) {
        for (name, value) in &upper.0 {
            for (_, other) in RIVALS.iter().filter(|(rival, _)| rival == name) {
                self.0.remove(other);
            }
            self.0.insert(name, value.clone());
        }
    }

    /// What it says of the host as a whole.
    pub(super) fn of_the_host(&self) -> OfTheHost {
        let values = self.0.iter();
        let values =
            values.filter(|(name, _)| flags::find(name).is_some_and(|flag| flag.is_of_the_host));
        OfTheHost(
            values
                .map(|(name, value)| (*name, value.texts.clone()))
                .collect(),
        )
    }

    /// The command line that these values make.
    fn line(&self) -> Vec<OsString> {
        let mut line = Vec::new();
        for flag in flags::all() {
            let Some(value) = self.0.get(&*flag.name) else {
                continue;
            };
            for text in &value.texts {
                if flag.takes != Takes::Nothing {
                    let mut argument = OsString::from(format!("--{}=", flag.name));
                    argument.push(text);
                    line.push(argument);
                } else if text == "true" {
                    line.push(format!("--{}", flag.name).into());
                }
            }
        }
        line
    }
}

impl Layers {
    /// What shows from above once this pool's layer is in its place, and as the command line reads
    /// it.
    ///
    /// # Errors
    /// A sentence, if two values exclude each other.
    pub(super) fn serve(&self, pool: Layer) -> Result<(Serve, Layer), String> {
        let mut shown = self.file.clone();
        shown.cover(&pool);
        shown.cover(&self.variables);
        shown.cover(&self.flags);
        match Line::try_parse_from(shown.line()) {
            Ok(line) => Ok((line.serve, shown)),
            Err(error) => Err(flags::reason(&error)),
        }
    }
}

/// The values of all variables.
///
/// # Errors
/// A sentence that names the variable.
pub(super) fn variables() -> Result<Layer, String> {
    let mut layer = Layer::default();
    for (name, value) in std::env::vars_os() {
        let Some(flag) = name.to_str().and_then(|name| name.strip_prefix(VARIABLE)) else {
            continue;
        };
        let source = Source::Variable(format!("{VARIABLE}{flag}"));
        let flag = flag.to_ascii_lowercase().replace('_', "-");
        let Some(flag) = flags::find(&flag) else {
            let known = flags::all().iter().map(|flag| &*flag.name);
            let hint = match flags::nearest(&flag, known) {
                Some(near) => format!("; perhaps {} was meant", variable(near)),
                None => String::new(),
            };
            return Err(format!("{source}: there is no flag --{flag}{hint}"));
        };
        let texts = match (flag.takes, value.to_str()) {
            (Takes::ManyValues, Some(lines)) => lines.lines().map(OsString::from).collect(),
            (Takes::Nothing, Some("1")) => vec!["true".into()],
            (Takes::Nothing, Some("0" | "")) => vec!["false".into()],
            (Takes::Nothing, text) if !matches!(text, Some("true" | "false")) => {
                return Err(format!("{source}: give true or false"));
            }
            (Takes::Nothing | Takes::OneValue | Takes::ManyValues, _) => vec![value],
        };
        if flag.takes != Takes::Nothing {
            for text in &texts {
                flags::check(flag, text)
                    .map_err(|reason| format!("{source}: {}: {reason}", text.display()))?;
            }
        }
        layer.set(flag, texts, source);
    }
    Ok(layer)
}

/// The variable of a flag.
pub(crate) fn variable(flag: &str) -> String {
    format!("{VARIABLE}{}", flag.to_ascii_uppercase().replace('-', "_"))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("the command line"),
            Self::Variable(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}
