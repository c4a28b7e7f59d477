//! `generate`: manual pages and completions, from the same definitions as `--help`. What `--help`
//! doesn't know, such as signals and files, is written here, once, for the page of the program.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_complete::aot;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use wasm_pool_host::outlet;

use crate::cli::{Cli, Generate, Shell};

/// The program, and the manual that its pages belong to.
const NAME: &str = "wasm-pool-host";

/// The section of the manual for commands.
const SECTION: &str = "1";

/// A section of the program's page: its title, and what it explains, word by word.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

const SECTIONS: &[Section] = &[
    (
        "EXIT STATUS",
        &[
            (
                "0",
                "The command was carried out. A host was stopped in order.",
            ),
            (
                "1",
                "The command failed, and standard error says why. `check`: the module does not run here. \
                 `drill`: a request failed without a kill.",
            ),
            ("2", "A flag, a value or a configuration can't be used."),
            (
                "130, 143",
                "SIGINT or SIGTERM ended the program before it served, or a second one while it stopped.",
            ),
            (
                "others",
                "`run` ends with the exit of what it runs; see wasm-pool-host-run(1).",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Stop in order: accept nothing new, and let running requests finish within --grace. A second \
                 one ends the host at once.",
            ),
            (
                "SIGHUP",
                "Read the configuration and certificates again, and load all modules, as \
                 wasm-pool-host-reload(1) does. If anything can't be used, nothing changes, and the log says \
                 why.",
            ),
            ("SIGUSR1", "Open the file of --log-file anew."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            (
                "WASM_POOL_HOST_FLAG",
                "The value of a flag of `serve`, by its name in capital letters with _ for each dash, such as \
                 WASM_POOL_HOST_MEMORY for --memory. A flag comes before a variable, and a variable before \
                 the file of --config. A flag that may be repeated has one value a line.",
            ),
            ("XDG_CACHE_HOME", "The folder that has that of --cache."),
            (
                "XDG_RUNTIME_DIR",
                "The folder that has that of control sockets.",
            ),
            (
                "LISTEN_FDS, LISTEN_PID",
                "Set by whoever hands sockets over, which --listen fd:3 and further ones take.",
            ),
            (
                "SSL_CERT_FILE, SSL_CERT_DIR",
                "Certificates to trust servers of NATS by, in place of the system's.",
            ),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC",
                "Set by a service manager: where the host says that it is ready, loads again or stops, and how \
                 often it says that it lives.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "/etc/wasm-pool-host/host.toml",
                "The configuration that the unit wasm-pool-host.service reads.",
            ),
            (
                "$XDG_CACHE_HOME/wasm-pool-host, ~/.cache/wasm-pool-host",
                "Compiled modules. All may be removed at any time.",
            ),
            (
                "$XDG_RUNTIME_DIR/wasm-pool-host/PID.sock",
                "The control socket of the host with this process id.",
            ),
        ],
    ),
];

/// Pages of others that the program's page leads to.
const ELSEWHERE: &[&str] = &["systemd.service(5)", "systemd.socket(5)", "sd_notify(3)"];

/// A page of the manual.
struct Page {
    file: String,
    text: String,
}

pub(crate) fn generate(asked: &Generate) -> anyhow::Result<ExitCode> {
    let said = match asked {
        Generate::Man { folder } => man(folder)?,
        Generate::Completions { shell } => completions(*shell),
    };
    outlet::say(io::stdout(), said.trim_end()).context("can't write it")?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the manual into a folder.
fn man(folder: &Path) -> anyhow::Result<String> {
    let shown = folder.display();
    let pages = pages().context("can't render the manual")?;
    fs::create_dir_all(folder).with_context(|| format!("can't make the folder {shown}"))?;
    for Page { file, text } in &pages {
        let path = folder.join(file);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(format!("{} pages are in {shown}", pages.len()))
}

/// The pages of all commands, that of the program first.
fn pages() -> io::Result<Vec<Page>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut commands = Vec::new();
    list(&program, &mut commands);
    commands
        .iter()
        .map(|command| page(command, &commands))
        .collect()
}

/// Lists a command and all visible ones below it.
fn list<'a>(command: &'a Command, commands: &mut Vec<&'a Command>) {
    commands.push(command);
    let below = command.get_subcommands();
    below
        .filter(|command| !command.is_hide_set())
        .for_each(|command| list(command, commands));
}

fn page(command: &Command, all: &[&Command]) -> io::Result<Page> {
    let name = page_name(command);
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let has_commands = command.get_subcommands().any(|below| !below.is_hide_set());
    let man = Man::new(command.clone().override_usage(usage)).section(SECTION);
    let mut text = title(name).into_bytes();
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if has_commands {
        man.render_subcommands_section(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    let mut rest = Roff::new();
    let others: Vec<_> = match name == NAME {
        true => {
            SECTIONS
                .iter()
                .for_each(|section| explain(&mut rest, section));
            let pages = all.iter().skip(1).map(|command| reference(command));
            pages
                .chain(ELSEWHERE.iter().map(|&page| page.to_owned()))
                .collect()
        }
        false => vec![format!("{NAME}({SECTION})")],
    };
    rest.control("SH", ["SEE ALSO"]);
    rest.text([roman(others.join(", "))]);
    rest.to_writer(&mut text)?;
    Ok(Page {
        file: format!("{name}.{SECTION}"),
        text: emphasized(&String::from_utf8_lossy(&text)),
    })
}

/// The title line of a page. It has no date, so that the same program writes the same pages; the
/// renderer would leave an empty date out, and so move what follows it.
fn title(name: &str) -> String {
    let (name, version) = (name.to_uppercase(), env!("CARGO_PKG_VERSION"));
    format!(".TH {name} {SECTION} \"\" \"{NAME} {version}\"\n")
}

fn explain(roff: &mut Roff, (title, words): &Section) {
    roff.control("SH", [*title]);
    for (word, text) in *words {
        roff.control("TP", []);
        roff.text([bold(*word)]);
        roff.text([roman(*text)]);
    }
}

/// The name of a command's page, such as `wasm-pool-host-config-check`.
fn page_name(command: &Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn reference(command: &Command) -> String {
    format!("{}({SECTION})", page_name(command))
}

/// The text with bold type in place of backticks, which typesetters show as quotation marks that
/// open and never close.
fn emphasized(text: &str) -> String {
    let mut emphasized = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut parts = line.split('`');
        emphasized += parts.next().unwrap_or_default();
        for (part, font) in parts.zip(["\\fB", "\\fR"].into_iter().cycle()) {
            emphasized += font;
            emphasized += part;
        }
    }
    emphasized
}

/// What a shell reads to complete a command line.
fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    let mut program = visible(&Cli::command());
    match shell {
        Shell::Bash => aot::generate(aot::Bash, &mut program, NAME, &mut text),
        Shell::Zsh => aot::generate(aot::Zsh, &mut program, NAME, &mut text),
        Shell::Fish => aot::generate(aot::Fish, &mut program, NAME, &mut text),
    }
    let text = String::from_utf8_lossy(&text);
    // For bash, the dashes of the program's name are spelled in one way where a command is looked
    // for, and in another where its flags are: no flag of a command would be completed.
    text.replace(&NAME.replace('-', "__subcmd__"), &NAME.replace('-', "__"))
}

/// The same command without what is hidden, which completions would offer.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments();
    let arguments = arguments.filter(|argument| !argument.is_hide_set());
    let below = command.get_subcommands();
    let below = below.filter(|command| !command.is_hide_set());
    let mut copy = Command::new(command.get_name().to_owned())
        .args(arguments.cloned())
        .subcommands(below.map(visible));
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    if let Some(version) = command.get_version() {
        copy = copy.version(version.to_owned());
    }
    copy
}
