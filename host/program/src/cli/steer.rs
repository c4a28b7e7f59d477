//! What the command line says about a host that is running already.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{LogLevel, Workers, time};

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

    /// Show a running host on one screen: its pools, seats, line and exits
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        which: WhichHost,
    },

    /// End processes of a running host; their requests fail, and they are replaced
    Kill(Kill),

    /// Change how many processes a pool keeps ready, and how many there may be
    Scale {
        /// The pool's name
        pool: String,

        /// As for `--workers`
        #[arg(value_name = "N|MIN..MAX")]
        workers: Workers,

        #[command(flatten)]
        which: WhichHost,
    },

    /// Load modules again; running requests finish with the processes they have
    ///
    /// A module that can't be used changes nothing.
    Reload {
        /// The pool's name [default: all pools]
        pool: Option<String>,

        #[command(flatten)]
        which: WhichHost,
    },

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
    pub(crate) pid: Option<u64>,

    /// All processes whose current request has run for longer
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) running_over: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Kill {
    #[command(flatten)]
    pub(crate) victims: Victims,

    /// Have a process that runs trap where it is, so that the log has its backtrace
    #[arg(long)]
    pub(crate) trap: bool,

    #[command(flatten)]
    pub(crate) which: WhichHost,
}
