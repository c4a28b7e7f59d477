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
        let stat = Stat::read(&line)?;
        if groups.contains(&stat.group) {
            used.cpu += time(stat.ticks + stat.ticks_waited_for);
            used.peak_kib += kib(pid, "VmHWM")?.unwrap_or(0.0);
        }
    }
    Ok(used)
}

/// The CPU time of all children of this process that have ended, and of those that they had waited for.
pub(crate) fn of_those_waited_for() -> anyhow::Result<Duration> {
    let line = std::fs::read_to_string("/proc/self/stat")?;
    Ok(time(Stat::read(&line)?.ticks_waited_for))
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
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
    /// In user mode and in the kernel.
    ticks: u64,
    /// Of children that it has waited for.
    ticks_waited_for: u64,
}

impl Stat {
    fn read(line: &str) -> anyhow::Result<Self> {
        Self::of(line).with_context(|| format!("not what /proc/PID/stat has: {line:?}"))
    }

    fn of(line: &str) -> Option<Self> {
        // Fields are counted from behind the name, which may itself contain anything.
        let (_, fields) = line.rsplit_once(") ")?;
        let fields: Vec<_> = fields.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            group: u32::try_from(number(2)?).ok()?,
            ticks: number(11)? + number(12)?,
            ticks_waited_for: number(13)? + number(14)?,
        })
    }
}
