//! The configuration's *file*, in TOML: values at its top, and a table `[[pool]]` for each pool.
//! Whatever is wrong is said with its line.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};
use wasm_pool_host::Route;

use super::flags::{self, CONFIG, Flag, Takes};
use super::layers::{Layer, Source};
use crate::cli::environment;
use crate::cli::words::CLUSTER;

/// The key of the pools' tables.
const POOL: &str = "pool";

/// What a pool's table has beside flags.
const OF_A_POOL: [&str; 3] = [NAME, "routes", "strip-prefix"];

/// A host has a name too, which stands at the top.
const NAME: &str = "name";

/// The longest name of a pool, in bytes: it stands in every line of the log.
const LONGEST_NAME: usize = 64;

/// What stands in a file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The values at its top.
    pub(super) top: Layer,
    pub(super) pools: Vec<PoolTable>,
}

/// A table `[[pool]]`.
#[derive(Debug)]
pub(super) struct PoolTable {
    pub(super) name: String,
    pub(super) routes: Vec<Route>,
    pub(super) strips_prefix: bool,
    pub(super) values: Layer,
}

/// A text, and where it comes from.
struct Text<'a> {
    path: &'a Path,
    text: &'a str,
}

type Key<'a, 'i> = &'a Spanned<DeString<'i>>;
type Item<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl File {
    /// # Errors
    /// A sentence that names the file and the line.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = environment::text_of(path);
        let text = text.map_err(|problem| format!("--config {}: {problem}", path.display()))?;
        let text = &Text { path, text: &text };
        let table = DeTable::parse(text.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            text.at(at, error.message())
        })?;
        let mut file = Self::default();
        for (key, value) in table.get_ref() {
            match &**key.get_ref() {
                POOL => file.pools = text.pools(value)?,
                name if OF_A_POOL.contains(&name) && name != NAME => {
                    let problem = format!("{name} belongs to one pool: write it below [[{POOL}]]");
                    return Err(text.at(key.span().start, &problem));
                }
                _ => text.set(&mut file.top, key, value, &[POOL])?,
            }
        }
        Ok(file)
    }
}

impl Text<'_> {
    /// A problem at this byte.
    fn at(&self, byte: usize, problem: &str) -> String {
        format!("{}: {problem}", self.source(byte))
    }

    fn source(&self, byte: usize) -> Source {
        let before = self.text.as_bytes().iter().take(byte);
        Source::File {
            path: self.path.to_owned(),
            line: before.filter(|byte| **byte == b'\n').count() + 1,
        }
    }

    /// Sets a flag to a value. `others` are further keys that may stand here.
    fn set(
        &self,
        layer: &mut Layer,
        key: Key<'_, '_>,
        value: Item<'_, '_>,
        others: &[&str],
    ) -> Result<(), String> {
        let (name, at) = (&**key.get_ref(), key.span().start);
        let Some(flag) = flags::find(name).filter(|flag| flag.name != CONFIG) else {
            let known = flags::all().iter().map(|flag| &*flag.name);
            let known = known.filter(|name| *name != CONFIG);
            let hint = match flags::nearest(name, known.chain(others.iter().copied())) {
                Some(near) => format!("; perhaps {near} was meant"),
                None => "; the keys are the flags of `wasm-pool-host --help`".to_owned(),
            };
            return Err(self.at(at, &format!("unknown key {name}{hint}")));
        };
        let texts = texts(flag, value.get_ref())
            .map_err(|problem| self.at(value.span().start, &format!("{name}: {problem}")))?;
        for text in texts.iter().filter(|_| flag.takes != Takes::Nothing) {
            flags::check(flag, text).map_err(|problem| {
                let shown = without_password(&text.display().to_string());
                let problem = format!("{name} {shown:?}: {problem}");
                self.at(value.span().start, &problem)
            })?;
        }
        // `--module cluster` names no file.
        let is_pushed = flag.name == "module" && texts.iter().all(|text| text == CLUSTER);
        let texts = match flag.is_path && !is_pushed {
            true => texts.into_iter().map(|text| self.beside(&text)).collect(),
            false => texts,
        };
        layer.set(flag, texts, self.source(at));
        Ok(())
    }

    /// A path as seen from the file's folder.
    fn beside(&self, path: &OsString) -> OsString {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let path = PathBuf::from(path);
        let relative = path.strip_prefix(".").unwrap_or(&path);
        match (
            folder.as_os_str().is_empty(),
            relative.as_os_str().is_empty(),
        ) {
            (true, _) => path.into(),
            (false, true) => folder.into(),
            (false, false) => folder.join(relative).into(),
        }
    }

    fn pools(&self, value: Item<'_, '_>) -> Result<Vec<PoolTable>, String> {
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(self.at(value.span().start, "write [[pool]], with two brackets"));
        };
        let mut pools: Vec<PoolTable> = Vec::new();
        let mut owners: HashMap<Route, String> = HashMap::new();
        for table in tables {
            let at = table.span().start;
            let DeValue::Table(entries) = table.get_ref() else {
                return Err(self.at(at, "write [[pool]], with two brackets"));
            };
            let (pool, routes_at) = self.pool(at, entries)?;
            if pools.iter().any(|other| other.name == pool.name) {
                return Err(self.at(at, &format!("there are two pools {:?}", pool.name)));
            }
            for route in &pool.routes {
                if let Some(owner) = owners.insert(route.clone(), pool.name.clone()) {
                    let problem = format!("pool {owner} has the route {route} already");
                    return Err(self.at(routes_at, &problem));
                }
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    /// A pool, and the byte where its routes stand.
    fn pool(&self, at: usize, entries: &DeTable<'_>) -> Result<(PoolTable, usize), String> {
        let mut pool = PoolTable {
            name: String::new(),
            routes: vec![Route::all()],
            strips_prefix: false,
            values: Layer::default(),
        };
        let mut routes_at = at;
        for (key, value) in entries {
            let value_at = value.span().start;
            match (&**key.get_ref(), value.get_ref()) {
                ("name", DeValue::String(name)) if is_name(name) => pool.name = name.to_string(),
                ("name", _) => {
                    let problem = "name: give letters, digits, - and _, at most 64 of them";
                    return Err(self.at(value_at, problem));
                }
                ("routes", DeValue::Array(routes)) if !routes.is_empty() => {
                    routes_at = value_at;
                    let routes = routes.iter().map(|route| self.route(route));
                    pool.routes = routes.collect::<Result<_, _>>()?;
                }
                ("routes", _) => {
                    let problem = "routes: give a list of routes, such as [\"/api/*\"]";
                    return Err(self.at(value_at, problem));
                }
                ("strip-prefix", DeValue::Boolean(strips)) => pool.strips_prefix = *strips,
                ("strip-prefix", _) => {
                    return Err(self.at(value_at, "strip-prefix: give true or false"));
                }
                (name, _) if flags::find(name).is_some_and(|flag| flag.is_of_the_host) => {
                    let problem = format!(
                        "{name} is for the whole host: write it at the top, above the first [[{POOL}]]"
                    );
                    return Err(self.at(key.span().start, &problem));
                }
                _ => self.set(&mut pool.values, key, value, &OF_A_POOL)?,
            }
        }
        if pool.name.is_empty() {
            return Err(self.at(at, "this pool has no name"));
        }
        Ok((pool, routes_at))
    }

    fn route(&self, route: Item<'_, '_>) -> Result<Route, String> {
        let at = route.span().start;
        let DeValue::String(text) = route.get_ref() else {
            return Err(self.at(at, "a route is a text, such as \"/api/*\""));
        };
        text.parse()
            .map_err(|error| self.at(at, &format!("route {text:?}: {error}")))
    }
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// The texts of a value, as they would stand on the command line.
fn texts(flag: &Flag, value: &DeValue<'_>) -> Result<Vec<OsString>, &'static str> {
    let scalar = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => None,
    };
    let texts = match (flag.takes, value) {
        (Takes::Nothing, DeValue::Boolean(is_on)) => Some(vec![is_on.to_string()]),
        (Takes::Nothing, _) => return Err("give true or false"),
        (Takes::OneValue, value) => scalar(value).map(|text| vec![text]),
        (Takes::ManyValues, DeValue::Array(values)) => {
            values.iter().map(|value| scalar(value.get_ref())).collect()
        }
        (Takes::ManyValues, DeValue::Table(pairs)) => {
            let pairs = pairs.iter().map(|(name, value)| {
                Some(format!("{}={}", name.get_ref(), scalar(value.get_ref())?))
            });
            pairs.collect()
        }
        (Takes::ManyValues, value) => scalar(value).map(|text| vec![text]),
    };
    let texts = texts.ok_or(match flag.takes {
        Takes::Nothing | Takes::OneValue => "give a text or a whole number",
        Takes::ManyValues => "give a text, or a list of texts",
    })?;
    Ok(texts.into_iter().map(OsString::from).collect())
}

/// A text, without what may be a user and a password before the host of a URL.
fn without_password(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        (None, _) | (Some(_), None) => text.to_owned(),
    }
}
