//! `config show`: the effective configuration, as a file that would have the same effect. Behind
//! each value stands its source.

use std::fmt::Write;

use super::flags::{self, CONFIG, Flag, Takes};
use super::layers::{Layer, Value};
use super::{Configured, Role, Source};

/// What a front has of the flags for pools: bounds of its own line.
const OF_A_FRONT: [&str; 2] = ["queue", "queue-timeout"];

/// The effective configuration.
pub(crate) fn show(configured: &Configured) -> String {
    let pools = &configured.pools;
    let mut text = String::new();
    let is_one = pools.iter().all(|pool| pool.name.is_empty());
    let role = configured.serve.cluster.role();
    let has = |flag: &&Flag| match role {
        Role::Both => true,
        Role::Front => flag.is_of_the_host || OF_A_FRONT.contains(&&*flag.name),
        Role::Worker => flag.name != "listen",
    };
    let flags = || flags::all().iter().filter(|flag| flag.name != CONFIG);
    let flags = || flags().filter(has);
    for flag in flags().filter(|flag| is_one || flag.is_of_the_host) {
        put(&mut text, &configured.values, flag);
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
            put(&mut text, &pool.values, flag);
        }
    }
    text
}

/// Writes the value of one flag, if it has one.
fn put(text: &mut String, values: &Layer, flag: &Flag) {
    let (texts, source) = match values.get(&flag.name) {
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
