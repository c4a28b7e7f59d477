//! What a server *costs*, as the kernel counts it in `/proc`: CPU time and memory of all processes of its
//! groups.

use std::time::Duration;

use anyhow::Context;

/// Of all processes that live now, and of those that they have waited for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    /// In user mode and in the kernel. The kernel counts in ticks, of 10 ms as a rule.
    pub(crate) cpu: Duration,
    /// The sum of each one's highest resident memory. Pages that several share are counted with each; what has
    /// ended, such as CGI programs, is not counted.
    pub(crate) peak_kib: f64,
}

pub(crate) fn used(groups: &[u32]) -> anyhow::Result<Use> {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut used = Use::default();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue; // not a process
        };
        // It may end at any time; its parent has its time then.
        let Ok(line) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let stat = Stat::read(&line).with_context(|| format!("/proc/{pid}/stat: {line:?}"))?;
        if groups.contains(&stat.group) {
            used.cpu += Duration::from_secs_f64(stat.ticks as f64 / per_second);
            used.peak_kib += kib(pid, "VmHWM")?.unwrap_or(0.0);
        }
    }
    Ok(used)
}

/// A line of `/proc/PID/status` in KiB; none where the process has ended.
pub(crate) fn kib(pid: u32, name: &str) -> anyhow::Result<Option<f64>> {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        return Ok(None);
    };
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let Some((_, value)) = lines.find(|(field, _)| *field == name) else {
        return Ok(None); // it has ended, and waits for its parent
    };
    let kib = value.split_whitespace().next().context("/proc is empty")?;
    Ok(Some(kib.parse()?))
}

/// Some of the fields of `/proc/PID/stat`.
struct Stat {
    group: u32,
    /// Own ones, and of children that were waited for, in user mode and in the kernel.
    ticks: u64,
}

impl Stat {
    fn read(line: &str) -> Option<Self> {
        /// Fields are counted from what follows the name, which may itself contain anything.
        const GROUP: usize = 2;
        const TIMES: std::ops::RangeInclusive<usize> = 11..=14;

        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let times = fields.get(TIMES)?.iter();
        Some(Self {
            group: fields.get(GROUP)?.parse().ok()?,
            ticks: times
                .map(|time| time.parse::<u64>().ok())
                .sum::<Option<_>>()?,
        })
    }
}
