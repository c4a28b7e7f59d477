//! The kernel's data in `/proc`: about this machine, and about the resources that processes use.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// The machine that the figures are from.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The name that the processor reports.
    processor: String,
    cores: usize,
    /// Linux's version.
    kernel: String,
}

impl Machine {
    pub(crate) fn this() -> Self {
        let processor = fields("cpuinfo").ok().and_then(|fields| {
            let mut fields = fields.into_iter();
            Some(fields.find(|(name, _)| name == "model name")?.1)
        });
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        Self {
            processor: processor.unwrap_or_else(|| "unknown".into()),
            cores: cores(),
            kernel: kernel.map_or_else(|_| "unknown".into(), |kernel| kernel.trim().to_owned()),
        }
    }
    /// The machine in one line.
    pub(crate) fn text(&self) -> String {
        let Self {
            cores,
            processor,
            kernel,
        } = self;
        format!("{cores} cores of {processor}, Linux {kernel}")
    }
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The current time in UTC, such as `2026-11-23T09:00:00Z`.
pub(crate) fn date() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// The size in this field of a file in `/proc`, in KiB.
pub(crate) fn kib(file: &str, field: &str) -> anyhow::Result<f64> {
    let mut fields = fields(file)?.into_iter();
    let found = fields.find(|(name, _)| name == field);
    let kib = found.and_then(|(_, size)| size.split_whitespace().next()?.parse().ok());
    kib.with_context(|| format!("/proc/{file} does not say {field}"))
}

fn fields(file: &str) -> anyhow::Result<Vec<(String, String)>> {
    let text = std::fs::read_to_string(format!("/proc/{file}"));
    let text = text.with_context(|| format!("can't read /proc/{file}"))?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let fields = fields.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    Ok(fields.collect())
}

/// The resources used by the living processes of some groups, and by their ended children that they
/// waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    /// CPU time in user mode and in the kernel. The kernel counts in ticks, usually of 10 ms.
    pub(crate) cpu: Duration,
    /// The sum of each process's highest resident memory. Shared pages count in each process.
    /// Processes that have ended, such as CGI programs, don't count.
    pub(crate) peak_kib: f64,
}

impl Use {
    pub(crate) fn of_groups(groups: &[u32]) -> anyhow::Result<Self> {
        let mut used = Self::default();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue; // not a process
            };
            // A process may end at any time. Then its parent has its CPU time.
            let Ok(line) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
                continue;
            };
            let stat = Stat::read(&line)?;
            if stat.group.is_some_and(|group| groups.contains(&group)) {
                used.cpu += time(stat.ticks + stat.ticks_waited_for);
                used.peak_kib += kib(&format!("{pid}/status"), "VmHWM").unwrap_or(0.0);
            }
        }
        Ok(used)
    }
}

/// The CPU time of this process's ended children, and of descendants that its children have waited
/// for.
pub(crate) fn cpu_of_ended_children() -> anyhow::Result<Duration> {
    let line = std::fs::read_to_string("/proc/self/stat")?;
    Ok(time(Stat::read(&line)?.ticks_waited_for))
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Some of the fields of `/proc/PID/stat`.
struct Stat {
    /// None if the process is ending: it has left its group.
    group: Option<u32>,
    /// CPU time in user mode and in the kernel.
    ticks: u64,
    /// CPU time of ended children that the process has waited for.
    ticks_waited_for: u64,
}

impl Stat {
    fn read(line: &str) -> anyhow::Result<Self> {
        Self::of(line).with_context(|| format!("not a line of /proc/PID/stat: {line:?}"))
    }

    fn of(line: &str) -> Option<Self> {
        // Counts the fields behind the name, since the name may contain any character.
        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            group: fields.get(2)?.parse().ok(),
            ticks: number(11)? + number(12)?,
            ticks_waited_for: number(13)? + number(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_going_has_no_group() {
        let line = |group: &str| {
            let zeros = "0 ".repeat(20);
            format!("7 (a) name) Z 1 {group} -1 0 -1 0 0 0 0 0 3 4 5 6 {zeros}")
        };
        let stat = Stat::read(&line("42")).expect("a line");
        assert_eq!(
            (stat.group, stat.ticks, stat.ticks_waited_for),
            (Some(42), 7, 11)
        );
        assert_eq!(Stat::read(&line("-1")).expect("a line").group, None);
        assert!(Stat::read("7 (a name").is_err());
    }
}
