//! `drill`: kills processes at random while the host serves real traffic, and reports who was
//! touched. A request fails if its process is killed; nothing else may.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use tokio::time::{Instant, MissedTickBehavior};

use super::printable::printable;
use crate::cli::{Drill, Pid};
use crate::control::api::{Process, Status, Way};
use crate::control::client::{Remote, Told, Wanted};
use crate::control::events::{Event, Query, What};

/// How long the last processes that were killed may take to end, and others to start.
const AFTER: Duration = Duration::from_secs(2);

/// Requests of others that the report lists.
const LISTED: usize = 20;

/// What has come of a drill.
#[derive(Debug, Default)]
struct Report {
    /// Processes that were told to end.
    killed: HashSet<u64>,
    /// Killed processes that have ended, with the request that they worked on.
    ended: HashMap<u64, Option<u64>>,
    /// Requests that failed with their process.
    own: HashSet<u64>,
    /// How many requests failed without a kill, and the first of them.
    strangers: u64,
    examples: Vec<Event>,
    /// When killed processes ended, by pool, until others have started there.
    vacant: HashMap<String, VecDeque<SystemTime>>,
    replaced: Vec<Duration>,
    lost: u64,
}

pub(super) async fn drill(asked: Drill) -> anyhow::Result<ExitCode> {
    let host = Wanted(asked.which.host.clone()).find()?;
    let before = host.status().await?;
    let pools = pools(&before, asked.pool.as_deref())?;
    if !asked.yes && !is_wanted(&before, &pools, &asked)? {
        println!("nothing was killed");
        return Ok(ExitCode::SUCCESS);
    }
    let mut report = Report::default();
    let mut told = host.events(&Query::default()).await?;
    let begun = Instant::now();
    let end = begun + asked.time;
    let mut pace = tokio::time::interval(asked.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tokio::select! {
            biased;
            event = told.next() => report.take(event?)?,
            _now = pace.tick() => {
                let victim = report.victim(&host.processes().await?, &pools);
                report.kill(&host, victim, Way::Serving).await;
            }
            () = tokio::time::sleep_until(end) => {}
            // Whoever breaks it off wants to know what has come of it, too.
            _asked = tokio::signal::ctrl_c() => break,
        }
    }
    let time = begun.elapsed();
    // Those that had no request since are killed without.
    for pid in report.unsettled() {
        report.kill(&host, Some(pid), Way::Plain).await;
    }
    // The host may have ended, but not in a drill that goes well.
    let _elapsed = tokio::time::timeout(AFTER, settle(&mut report, &mut told)).await;
    let after = host.status().await?;
    print!("{}", report.text(&before, &after, time));
    Ok(match report.strangers == 0 && report.lost == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The names of the pools to kill in.
fn pools(status: &Status, wanted: Option<&str>) -> anyhow::Result<Vec<String>> {
    let is_pooled = |name: &str| {
        let pool = status.pools.iter().find(|pool| pool.name == name);
        pool.map(|pool| pool.max.is_some())
    };
    let names = status.pools.iter().map(|pool| pool.name.clone());
    match wanted.map(|name| (name, is_pooled(name))) {
        Some((name, Some(true))) => Ok(vec![name.to_owned()]),
        Some((name, Some(false))) => bail!(
            "{name} is a program: its processes depend on each other, so killing one is meant to touch others"
        ),
        Some((name, None)) => {
            let names: Vec<_> = names.collect();
            bail!("there is no pool {name:?}; there is {}", names.join(", "))
        }
        None => {
            let names: Vec<_> = names.filter(|name| is_pooled(name) == Some(true)).collect();
            if status.pools.is_empty() {
                bail!("this host is a front: the processes of its cluster are on other hosts");
            }
            if names.is_empty() {
                bail!("this host has programs only: their processes depend on each other");
            }
            Ok(names)
        }
    }
}

fn is_wanted(status: &Status, pools: &[String], asked: &Drill) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("standard input is no terminal: give --yes if processes may be killed");
    }
    print!(
        "This kills processes of {} at {} for {}: the requests that they work on fail. Go on? [y/N] ",
        pools.join(", "),
        status.address,
        humantime::format_duration(asked.time)
    );
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Takes events until nothing is expected any more.
async fn settle(report: &mut Report, told: &mut Told) -> anyhow::Result<()> {
    while !report.unsettled().is_empty() {
        let event = told.next().await?;
        report.take(event)?;
    }
    Ok(())
}

impl Report {
    /// A process of these pools at random, that was not told to end yet.
    fn victim(&self, processes: &[Process], pools: &[String]) -> Option<u64> {
        let is_ours = |process: &&Process| {
            pools.contains(&process.pool) && !self.killed.contains(&process.pid)
        };
        let ours: Vec<_> = processes.iter().filter(is_ours).collect();
        let random = RandomState::new().build_hasher().finish() as usize;
        let at = random.checked_rem(ours.len())?;
        ours.get(at).map(|process| process.pid)
    }

    /// Tells a process to end. It may have ended by itself meanwhile.
    async fn kill(&mut self, host: &Remote, victim: Option<u64>, way: Way) {
        if let Some(pid) = victim
            && host.kill(pid, way).await.is_ok()
        {
            self.killed.insert(pid);
        }
    }

    fn take(&mut self, event: Option<Event>) -> anyhow::Result<()> {
        let Some(event) = event else {
            bail!("the host has ended in the middle of the drill");
        };
        match (&event.what, event.pid) {
            (What::Ended(ended), Some(pid)) if self.killed.contains(&pid) => {
                if ended.exit != "killed" {
                    self.killed.remove(&pid); // it was faster
                    return Ok(());
                }
                self.ended.insert(pid, ended.request);
                let pool = self.vacant.entry(event.pool.clone()).or_default();
                pool.push_back(event.at());
            }
            (What::Started, _) => {
                let ended = self
                    .vacant
                    .get_mut(&event.pool)
                    .and_then(VecDeque::pop_front);
                if let Some(ended) = ended {
                    let time = event.at().duration_since(ended);
                    self.replaced.push(time.unwrap_or_default());
                }
            }
            (What::Failed { request, .. }, pid) => {
                if pid.is_some_and(|pid| self.killed.contains(&pid)) {
                    self.own.insert(*request);
                } else {
                    self.strangers += 1;
                    if self.examples.len() < LISTED {
                        self.examples.push(event);
                    }
                }
            }
            (What::Lost { events }, _) => self.lost += events,
            (
                What::Ended(_) | What::Began { .. } | What::Answered { .. } | What::Called { .. },
                _,
            ) => {}
        }
        Ok(())
    }

    /// Processes that were told to end, and have not.
    fn unsettled(&self) -> Vec<u64> {
        let living = self
            .killed
            .iter()
            .filter(|pid| !self.ended.contains_key(pid));
        living.copied().collect()
    }

    fn text(&self, before: &Status, after: &Status, time: Duration) -> String {
        let answered = after.answered.saturating_sub(before.answered);
        let busy = self.ended.values().flatten().count();
        let mut times = self.replaced.clone();
        times.sort();
        let ms = |time: &Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        let replaced = match (times.get(times.len() / 2), times.last()) {
            (Some(median), Some(longest)) => format!(
                "{}, in {} at the median and {} at most",
                times.len(),
                ms(median),
                ms(longest)
            ),
            _ => "none was needed".to_owned(),
        };
        let mut text = format!(
            "drill of {}\n\
             processes killed   {}, {busy} of them with a request\n\
             requests failed    {}, each with the process that was killed\n\
             requests answered  {answered}\n\
             replaced           {replaced}\n\
             others touched     {}\n",
            humantime::format_duration(Duration::from_millis(time.as_millis() as u64)),
            self.ended.len(),
            self.own.len(),
            match self.strangers {
                0 => "nobody".to_owned(),
                count => format!("{count} requests failed without a kill"),
            }
        );
        for event in &self.examples {
            if let What::Failed {
                request,
                exit,
                reason,
            } = &event.what
            {
                let pid = event.pid.map_or("no process".to_owned(), |pid| {
                    format!("process {}", Pid(pid))
                });
                let exit = exit
                    .as_deref()
                    .map(|exit| format!(" ({exit})"))
                    .unwrap_or_default();
                let pool = printable(&event.pool);
                text += &format!("  request {request} of {pool}, {pid}{exit}: {reason}\n");
            }
        }
        if answered == 0 {
            text += "no request was answered meanwhile: a drill without traffic shows nothing\n";
        }
        if self.lost > 0 {
            text += &format!(
                "{} events came too fast and are lost: nobody can tell whether others were touched\n",
                self.lost
            );
        }
        text
    }
}
