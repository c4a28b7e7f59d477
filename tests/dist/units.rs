//! What systemd says of the units, and the host of the example configuration.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{has, make, succeeded, text};
use crate::support::guests::{self, workspace};
use crate::support::server::PROGRAM;
use crate::support::tls::Authority;
use crate::support::{Folder, untested};

/// How much a unit may reach beyond what it needs, by systemd's own measure from 0 to 10.
const EXPOSURE: f64 = 1.5;

const SERVICE: &str = "wasm-pool-host.service";

fn dist(name: &str) -> PathBuf {
    workspace().join("dist").join(name)
}

#[test]
fn systemd_takes_the_units() {
    if !has("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Not below DESTDIR, so that the units name a program that is there.
    make("install", &[("PREFIX", folder.path())]);
    let units = folder.path().join("lib/systemd/system");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]);
    let units_of = [SERVICE, "wasm-pool-host.socket"].map(|name| units.join(name));
    let said = succeeded(verify.args(&units_of));
    // It also says what it finds wrong with others.
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("wasm-pool-host"))
        .collect();
    assert_eq!(ours, Vec::<&str>::new());

    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--no-pager", "--offline=yes"]);
    let judged = security.arg(units.join(SERVICE)).output();
    let said = text(&judged.expect("it can be run"));
    if said.contains("unrecognized option") {
        untested("the walls of the unit: before version 250, systemd judges only what runs");
        return;
    }
    let overall = said
        .lines()
        .find(|line| line.contains("Overall exposure level"));
    let overall = overall.unwrap_or_else(|| panic!("no judgement: {said}"));
    let level = overall
        .split_whitespace()
        .find_map(|word| word.parse::<f64>().ok());
    assert!(level.is_some_and(|level| level <= EXPOSURE), "{said}");
}

#[test]
fn each_line_of_the_service_has_a_reason() {
    let text = fs::read_to_string(dist("systemd").join(SERVICE)).expect("the unit");
    let mut has_reason = false;
    // The first section says what it is, and the last when it starts.
    let settings = text.lines().skip_while(|line| *line != "[Service]").skip(1);
    for line in settings.take_while(|line| *line != "[Install]") {
        match line {
            "" => has_reason = false,
            comment if comment.starts_with('#') => has_reason = true,
            setting => assert!(has_reason, "{setting}"),
        }
    }
}

#[test]
fn the_example_configuration_can_be_used() {
    // Its paths are those of a machine that has what it names.
    let folder = Folder::new();
    let pair = Authority::new().certify(&["localhost"]);
    let places = [
        ("/srv/www", folder.root().display().to_string()),
        ("/etc/wasm-pool-host/site.pem", pair.certificate()),
        ("/etc/wasm-pool-host/site.key", pair.key()),
        (
            "/usr/local/lib/wasm-pool-host/api.wasm",
            guests::path("hello").display().to_string(),
        ),
    ];
    let check = |text: &str| {
        let mut text = text.to_owned();
        for (place, own) in &places {
            assert!(text.contains(place), "{place} in {text}");
            text = text.replace(place, own);
        }
        let file = folder.path().join("host.toml");
        fs::write(&file, text).expect("our own");
        let mut check = Command::new(PROGRAM);
        succeeded(check.args(["config", "check"]).arg(file))
    };
    let text = fs::read_to_string(dist("host.toml")).expect("the example");
    let said = check(&text);
    assert!(said.contains("can be used\nsite: /*"), "{said}");
    // So can what it only shows.
    let is_setting = |line: &str| {
        let word = line.split(['=', ']']).next().unwrap_or_default().trim();
        let fits = |byte: u8| byte.is_ascii_lowercase() || b"-[".contains(&byte);
        !word.is_empty() && word.bytes().all(fits) && line.contains(['=', ']'])
    };
    let shown = text.lines().map(|line| match line.strip_prefix("# ") {
        // The address of a socket unit stands beside the one without.
        Some(setting) if is_setting(setting) && !setting.starts_with("listen") => setting,
        Some(_) | None => line,
    });
    let said = check(&shown.collect::<Vec<_>>().join("\n"));
    assert!(said.contains("\napi: /api/*"), "{said}");
}
