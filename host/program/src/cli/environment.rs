//! What the command line says about the surroundings of guests: variables, configuration, the root
//! folder as WASI shows it, and the servers that they may ask.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use clap::Args;
use wasm_pool_host::{Destination, Environment};

/// The largest file of variables. A guest copies them all into its memory.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The longest host name in DNS.
const MAX_NAME: usize = 253;

/// The flags for what guests find around them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "What guests find around them")]
pub(crate) struct Surroundings {
    /// An environment variable of guests; K alone passes on the host's own. May be repeated
    #[arg(long, value_name = "K=V|K", value_parser = variable)]
    env: Vec<(String, String)>,

    /// A file of environment variables, a line K=V for each; lines with # in front are comments.
    /// May be repeated. Of two with one name the later counts; those outside of files come last
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Show guests the root folder, read-only, as the folder / of WASI's file system. Without this
    /// flag that file system is empty
    #[arg(long)]
    wasi_root: bool,

    /// A value that guests find in `wasi:config/store`. May be repeated
    #[arg(long, value_name = "K=V", value_parser = pair)]
    config_value: Vec<(String, String)>,

    /// A server that guests may send HTTP requests to; without this flag there is none. The port is
    /// that of http or https if none is given. *.example.org is all names below example.org. No
    /// name leads to this machine or a private network: for that, give the address. May be repeated
    #[arg(long, value_name = "HOST[:PORT]", value_parser = destination)]
    allow_outbound: Vec<Destination>,
}

impl Surroundings {
    /// The files of variables.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.env_file
    }

    /// Reads the files of variables. `args` are the arguments of guests.
    ///
    /// # Errors
    /// A sentence that names the flag, the file and the line.
    pub(super) fn settings(&self, args: &[String]) -> Result<Environment, String> {
        let mut variables = Vec::new();
        for path in &self.env_file {
            variables.extend(file(path)?);
        }
        variables.extend_from_slice(&self.env);
        Ok(Environment {
            args: args.to_vec(),
            variables,
            config: self.config_value.clone(),
            wasi_root: self.wasi_root,
            outbound: self.allow_outbound.clone(),
        })
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    if text.contains('=') {
        return pair(text);
    }
    if text.is_empty() {
        return Err("give K=V, or the name of a variable that is set here".into());
    }
    match std::env::var(text) {
        Ok(value) => Ok((text.to_owned(), value)),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("{text} is not set here; give {text}=VALUE"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("what {text} is set to here is not UTF-8"))
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some(("", _)) => Err("there is no name before the ="),
        Some((name, value)) => return Ok((name.to_owned(), value.to_owned())),
        None => Err("give a name and a value, as in K=V"),
    }
    .map_err(Into::into)
}

/// The variables in a file.
fn file(path: &Path) -> Result<Vec<(String, String)>, String> {
    let name = path.display();
    let text = text_of(path).map_err(|problem| format!("--env-file {name}: {problem}"))?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(nth, line)| match pair(line) {
            Ok((variable, _)) if variable.contains(char::is_whitespace) => Err(format!(
                "--env-file {name}:{nth}: a name has no spaces: {variable:?}"
            )),
            Ok((_, value)) if value.contains('\0') => {
                Err(format!("--env-file {name}:{nth}: a value has no NUL in it"))
            }
            Ok(pair) => Ok(pair),
            Err(problem) => Err(format!("--env-file {name}:{nth}: {problem}")),
        })
        .collect()
}

pub(super) fn text_of(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err("it is larger than 1 MiB".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

/// A server that guests may ask. A literal address stands in its shortest form, without brackets.
fn destination(text: &str) -> Result<Destination, String> {
    const FORM: &str = "give a host, and a port unless it is the usual one, such as example.org, \
                        example.org:8080, *.example.org or [::1]:8080";
    if text.contains("//") || text.contains('/') {
        return Err(format!("this is a URL or a path; {FORM}"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(0) | Err(_)) => return Err(format!("a port is from 1 to 65535; {FORM}")),
        Some(Ok(port)) => Some(port),
    };
    let host = host.to_ascii_lowercase();
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or_default();
        let address: Ipv6Addr = address.parse().map_err(|_| FORM)?;
        let host = address.to_canonical().to_string();
        return Ok(Destination { host, port });
    }
    let is_name = || {
        let name = host.strip_prefix("*.").unwrap_or(&host);
        name.len() <= MAX_NAME && name.split('.').all(is_label)
    };
    if host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_ipv4())
        || is_name()
    {
        return Ok(Destination { host, port });
    }
    Err(FORM.into())
}

/// Whether this may stand between two dots of a name.
fn is_label(label: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty() && label.bytes().all(fits)
}
