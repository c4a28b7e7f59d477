//! What the command line says about a host that is running already.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{LogLevel, Pid, Workers, time};

/// Which of the running hosts is meant.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhichHost {
    /// The host: its process id, or its control socket. Not needed where one is running
    #[arg(long, value_name = "PID|SOCKET", global = true)]
    pub(crate) host: Option<String>,
}

/// What may be asked of a running host.
#[derive(Debug, Subcommand)]
pub(crate) enum Steer {
    /// List the processes of a running host
    Ps(Ps),

    /// Watch a running host: its pools with rates and latency, and its processes
    Top(Top),

    /// Show a running host on one screen: its pools, seats, line, latency and exits
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        which: WhichHost,
    },

    /// End processes of a running host; their requests fail, and they are replaced
    Kill(Kill),

    /// Change how many processes a pool keeps ready, and how many there may be; all start anew
    Scale {
        /// The pool's name
        pool: String,

        /// As for `--workers`
        #[arg(value_name = "N|MIN..MAX")]
        workers: Workers,

        #[command(flatten)]
        which: WhichHost,
    },

    /// Read the configuration and load modules again; running requests finish with the processes
    /// they have
    ///
    /// All modules are started, and asked --probe, before any of them gets a request. If one can't
    /// be used, nothing changes. One that does nothing but fail in its first ten seconds is taken
    /// back. Without a name, pools and routes may be others than before.
    Reload {
        /// The pool's name [default: all pools, and their routes]
        pool: Option<String>,

        #[command(flatten)]
        which: WhichHost,
    },

    /// Take a pool out of service: new requests get 503, and those that came before finish
    ///
    /// Returns once none is left. `reload` and `scale` put the pool into service again. A program's
    /// processes stay.
    Drain {
        /// The pool's name [default: all pools]
        pool: Option<String>,

        #[command(flatten)]
        which: WhichHost,
    },

    /// Kill processes at random while the host serves, and see whether anybody else is touched
    ///
    /// Exits with 1 if a request failed without a kill. Programs are left out: their processes
    /// depend on each other.
    Drill(Drill),

    /// Show each request of a process, and each call of its guest's: an strace for processes
    Trace(Trace),

    /// Change what goes into a running host's log
    LogLevel {
        /// The level
        #[arg(value_enum)]
        level: LogLevel,

        #[command(flatten)]
        which: WhichHost,
    },

    /// Stop a running host: running requests finish, and nothing new begins
    Stop {
        /// How long running requests may go on [default: the host's --grace]
        #[arg(long, value_name = "TIME", value_parser = time)]
        grace: Option<Duration>,

        #[command(flatten)]
        which: WhichHost,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Top {
    /// How often to look
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    pub(crate) every: Duration,

    /// The order
    #[arg(long, value_enum, default_value_t = Order::Cpu)]
    pub(crate) sort: Order,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}

#[derive(Args, Debug)]
pub(crate) struct Drill {
    /// How many processes to kill, and in which time
    #[arg(long, value_name = "N/TIME", default_value = "5/s", value_parser = rate)]
    pub(crate) rate: Duration,

    /// How long
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(crate) time: Duration,

    /// The pool's name [default: all pools]
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,

    /// Don't ask first
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}

#[derive(Args, Debug)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) traced: Traced,

    /// How long [default: until the process ends, or Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub(crate) time: Option<Duration>,

    /// Print JSON: an object a line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}

#[derive(Args, Debug)]
#[group(id = "traced", required = true, multiple = false)]
pub(crate) struct Traced {
    /// The process's pid, as `ps` shows it
    pub(crate) pid: Option<Pid>,

    /// All processes of this pool
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
}

/// The time between two of `N/TIME`.
fn rate(text: &str) -> Result<Duration, String> {
    let problem = || format!("{text:?} is no rate; give one such as 5/s or 2/min");
    let (count, unit) = text.split_once('/').ok_or_else(problem)?;
    let count: f64 = count.parse().map_err(|_| problem())?;
    let unit = humantime::parse_duration(unit)
        .or_else(|_| humantime::parse_duration(&format!("1{unit}")))
        .map_err(|_| problem())?;
    let pause = Duration::try_from_secs_f64(unit.as_secs_f64() / count).map_err(|_| problem())?;
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(3600));
    if !(shortest..=longest).contains(&pause) {
        return Err("give from 1/h to 1000/s".to_owned());
    }
    Ok(pause)
}

#[derive(Args, Debug)]
pub(crate) struct Ps {
    /// Print JSON: an array with an object for each process
    #[arg(long, conflicts_with = "tree")]
    pub(crate) json: bool,

    /// Show children below their parents
    #[arg(long)]
    pub(crate) tree: bool,

    /// The order
    #[arg(long, value_enum, default_value_t = Order::Pid)]
    pub(crate) sort: Order,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}

/// The orders of processes. All but the first have the largest value first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Pid,
    Age,
    Requests,
    Running,
    Memory,
    Cpu,
}

#[derive(Args, Debug)]
#[group(id = "processes", required = true, multiple = false)]
pub(crate) struct Victims {
    /// The process's pid, as `ps` shows it
    pub(crate) pid: Option<Pid>,

    /// All processes whose current request has run for longer
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) running_over: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Kill {
    #[command(flatten)]
    pub(crate) victims: Victims,

    /// Have a process that runs trap where it is, so that the log has its backtrace. One that waits
    /// or has nothing to do ends without
    #[arg(long)]
    pub(crate) trap: bool,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}
