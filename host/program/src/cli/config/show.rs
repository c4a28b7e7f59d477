//! `config show`: the effective configuration, as a file that would have the same effect. Behind
//! each value stands its source.

use std::fmt::Write;

use super::flags::{self, CONFIG, Flag, Takes};
use super::layers::Value;
use super::{Configured, Pool, Source};

/// The effective configuration.
pub(crate) fn show(configured: &Configured) -> String {
    let pools = &configured.pools;
    let mut text = String::new();
    let is_one = pools.iter().all(|pool| pool.name.is_empty());
    let flags = || flags::all().iter().filter(|flag| flag.name != CONFIG);
    if let Some(first) = pools.first() {
        for flag in flags().filter(|flag| is_one || flag.is_of_the_host) {
            put(&mut text, first, flag);
        }
    }
    for pool in pools.iter().filter(|_| !is_one) {
        let routes: Vec<_> = pool
            .routes
            .iter()
            .map(|route| quoted(&route.to_string()))
            .collect();
        let _ = write!(
            text,
            "\n[[pool]]\nname = {}\nroutes = [{}]\nstrip-prefix = {}\n",
            quoted(&pool.name),
            routes.join(", "),
            pool.strips_prefix
        );
        for flag in flags().filter(|flag| !flag.is_of_the_host) {
            put(&mut text, pool, flag);
        }
    }
    text
}

/// Writes the value of one flag, if it has one.
fn put(text: &mut String, pool: &Pool, flag: &Flag) {
    let (texts, source) = match pool.values.get(&flag.name) {
        Some(Value { texts, source }) => {
            let texts = texts.iter().map(|text| text.to_string_lossy().into_owned());
            let source = match source {
                Source::Flag => format!("--{}", flag.name),
                Source::Variable(_) | Source::File { .. } => source.to_string(),
            };
            (texts.collect(), source)
        }
        None if flag.default.is_empty() => return,
        None => (flag.default.clone(), "default".to_owned()),
    };
    let value = match (flag.takes, &*texts) {
        (Takes::Nothing, [text]) => text.clone(),
        (Takes::OneValue, [text]) => quoted(text),
        (Takes::Nothing | Takes::OneValue | Takes::ManyValues, texts) => {
            let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
            format!("[{}]", texts.join(", "))
        }
    };
    let _ = writeln!(text, "{} = {value} # {source}", flag.name);
}

/// The text as TOML has it: a number as it is, all else in quotes.
fn quoted(text: &str) -> String {
    if text
        .parse::<u32>()
        .is_ok_and(|number| number.to_string() == text)
    {
        return text.to_owned();
    }
    // The escapes of JSON are among those of TOML.
    serde_json::Value::from(text).to_string()
}
