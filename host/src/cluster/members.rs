//! The *members* of the cluster, as this host knows them: who is there, how busy, and whom to ask.
//! A host is there while its beats come. One that has been silent for too long is lost, until it is
//! heard again.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::HostInfo;
use super::frames::{Beat, Load};
use super::settings::Role;
use crate::peers::PeerInfo;
use crate::pid::Pid;

/// The most hosts that are remembered. Each sends its beats to all, so many fewer are useful.
pub(super) const MAX_HOSTS: usize = 4096;

/// How long a host that is gone is remembered, so that a late beat of its doesn't bring it back.
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Members {
    own: u32,
    hosts: Mutex<HashMap<u32, Member>>,
    /// Notified when a host may have room.
    room: Notify,
    random: RandomState,
    /// The random numbers so far.
    drawn: AtomicU64,
    lost_after: Duration,
}

#[derive(Debug)]
struct Member {
    beat: Beat,
    heard: Instant,
    /// What it has last said of itself, in a beat or an answer.
    load: Load,
    /// Requests that it has from this host.
    asked: Arc<AtomicU32>,
    /// Probes since it has last answered one.
    unanswered: u32,
    /// Whether it is there.
    is_there: bool,
}

/// A host to ask.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) number: u32,
    /// The time of its last beat, by its own clock.
    pub(super) beat: u64,
    pub(super) counted: Counted,
}

/// A request that a host has. Dropping it says that it has it no more.
#[derive(Debug)]
pub(super) struct Counted {
    asked: Arc<AtomicU32>,
    members: Arc<Members>,
}

/// What a beat has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Came,
    Left,
}

impl Members {
    pub(super) fn new(own: u32, lost_after: Duration) -> Self {
        Self {
            own,
            hosts: Mutex::default(),
            room: Notify::new(),
            random: RandomState::new(),
            drawn: AtomicU64::new(0),
            lost_after,
        }
    }

    /// Takes in a beat.
    pub(super) fn heard(&self, beat: Beat) -> Change {
        let mut hosts = self.hosts();
        let now = Instant::now();
        let (has_left, is_full) = (beat.has_left, hosts.len() >= MAX_HOSTS);
        let change = match hosts.get_mut(&beat.number) {
            None if has_left || is_full => Change::None,
            None => {
                let member = Member {
                    heard: now,
                    load: beat.load,
                    asked: Arc::default(),
                    unanswered: 0,
                    is_there: true,
                    beat,
                };
                hosts.insert(member.beat.number, member);
                Change::Came
            }
            // Late, or of somebody who uses the number of another.
            Some(member) if beat.count <= member.beat.count || member.beat.has_left => Change::None,
            Some(member) => {
                let was_there = std::mem::replace(&mut member.is_there, !has_left);
                member.heard = now;
                member.load = beat.load;
                member.beat = beat;
                match (was_there, has_left) {
                    (true, true) => Change::Left,
                    (false, false) => {
                        member.unanswered = 0;
                        Change::Came
                    }
                    (true, false) | (false, true) => Change::None,
                }
            }
        };
        drop(hosts);
        self.room.notify_one();
        change
    }

    /// Takes in what a host says of itself in an answer.
    pub(super) fn told(&self, number: u32, load: Load) {
        if let Some(member) = self.hosts().get_mut(&number) {
            member.load = load;
        }
    }

    /// The host has answered a probe.
    pub(super) fn answered(&self, number: u32) {
        if let Some(member) = self.hosts().get_mut(&number) {
            member.unanswered = 0;
        }
    }

    /// These hosts are about to be probed, and no others. Returns those that have left too many
    /// probes unanswered.
    pub(super) fn probed(&self, numbers: &[u32]) -> Vec<u32> {
        const TOO_MANY: u32 = 3;
        let mut silent = Vec::new();
        let mut hosts = self.hosts();
        for (number, member) in hosts.iter_mut() {
            if !numbers.contains(number) {
                member.unanswered = 0;
                continue;
            }
            member.unanswered += 1;
            if member.unanswered > TOO_MANY {
                silent.push(*number);
            }
        }
        silent
    }

    /// Takes the host as lost until it is heard again. Returns its name if it was there.
    pub(super) fn lose(&self, number: u32) -> Option<String> {
        let mut hosts = self.hosts();
        let member = hosts.get_mut(&number)?;
        std::mem::replace(&mut member.is_there, false).then(|| member.beat.name.clone())
    }

    /// Takes those as lost that have been silent for too long, and forgets who has been gone for
    /// long. Returns the numbers and names of those who are lost.
    pub(super) fn lose_silent(&self) -> Vec<(u32, String)> {
        let now = Instant::now();
        let mut lost = Vec::new();
        let mut hosts = self.hosts();
        for (number, member) in hosts.iter_mut() {
            let silent = now.duration_since(member.heard);
            if *number != self.own && member.is_there && silent > self.lost_after {
                member.is_there = false;
                lost.push((*number, member.beat.name.clone()));
            }
        }
        hosts.retain(|_, member| {
            member.is_there || now.duration_since(member.heard) < REMEMBERED + self.lost_after
        });
        lost
    }

    /// Whether this host hears its own beats.
    pub(super) fn hears_itself(&self) -> bool {
        let hosts = self.hosts();
        let own = hosts.get(&self.own);
        own.is_some_and(|own| own.heard.elapsed() <= self.lost_after)
    }

    /// Of two hosts at random, the one that is less busy, except those that were tried. None that
    /// is full, and none that is as busy as this host.
    ///
    /// Two random choices balance nearly as well as looking at all, and not everybody runs to the
    /// one that was idle a moment ago.
    pub(super) fn choose(self: &Arc<Self>, tried: &[u32], own: Option<Load>) -> Option<Chosen> {
        const FULL: f64 = 2.0;
        let below = own.map_or(FULL, |own| own.share(0).min(FULL));
        let mut hosts = self.hosts();
        let share = |member: &Member| member.load.share(member.asked.load(Ordering::Relaxed));
        let may = |number: u32, member: &Member| {
            let Beat {
                role, is_draining, ..
            } = member.beat;
            number != self.own
                && member.is_there
                && !is_draining
                && role != Role::Front
                && member.load.seats > 0
                && !tried.contains(&number)
                && share(member) < below
        };
        let mut able: Vec<u32> = hosts
            .iter()
            .filter(|(number, member)| may(**number, member))
            .map(|(number, _)| *number)
            .collect();
        // The order of a map is no chance that one could rely on.
        able.sort_unstable();
        let first = able.get(self.random(able.len()))?;
        let rest: Vec<u32> = able
            .iter()
            .copied()
            .filter(|other| other != first)
            .collect();
        let second = rest.get(self.random(rest.len()));
        let number = match second {
            Some(second) if share(&hosts[second]) < share(&hosts[first]) => *second,
            Some(_) | None => *first,
        };
        let member = hosts.get_mut(&number)?;
        member.asked.fetch_add(1, Ordering::Relaxed);
        Some(Chosen {
            number,
            beat: member.beat.at,
            counted: Counted {
                asked: Arc::clone(&member.asked),
                members: Arc::clone(self),
            },
        })
    }

    /// Waits until a host may have room.
    pub(super) async fn room(&self) {
        self.room.notified().await;
    }

    /// Whether this host is there.
    pub(super) fn is_there(&self, number: u32) -> bool {
        let hosts = self.hosts();
        hosts.get(&number).is_some_and(|member| member.is_there)
    }

    /// Whether this host was there, and is no more.
    pub(super) fn is_gone(&self, number: u32) -> bool {
        let hosts = self.hosts();
        hosts.get(&number).is_some_and(|member| !member.is_there)
    }

    /// Whether this host has left for ever.
    pub(super) fn has_left(&self, number: u32) -> bool {
        let hosts = self.hosts();
        let member = hosts.get(&number);
        member.is_some_and(|member| member.beat.has_left)
    }

    /// For how long this host has left.
    pub(super) fn left_for(&self, number: u32) -> Option<Duration> {
        let hosts = self.hosts();
        let member = hosts.get(&number)?;
        member.beat.has_left.then(|| member.heard.elapsed())
    }

    /// Whether this host is remembered.
    pub(super) fn is_known(&self, number: u32) -> bool {
        self.hosts().contains_key(&number)
    }

    /// The other hosts that are there, by number, with the root processes of this program.
    pub(super) fn peers(&self, program: &str) -> Vec<PeerInfo> {
        let hosts = self.hosts();
        let there = hosts.values().filter(|member| member.is_there);
        let others = there.filter(|member| member.beat.number != self.own);
        let peer = |member: &Member| {
            let Beat {
                number,
                name,
                roots,
                ..
            } = &member.beat;
            let root = roots.iter().find(|(name, _)| name == program);
            PeerInfo {
                number: *number,
                name: name.clone(),
                root: root.and_then(|(_, pid)| Pid::new(*pid)),
            }
        };
        let mut peers: Vec<_> = others.map(peer).collect();
        peers.sort_by_key(|peer| peer.number);
        peers
    }

    /// All hosts that are there: this one first, then by number.
    pub(super) fn list(&self) -> Vec<HostInfo> {
        let hosts = self.hosts();
        let there = hosts.values().filter(|member| member.is_there);
        let mut list: Vec<_> = there
            .map(|member| HostInfo {
                is_this: member.beat.number == self.own,
                heard: member.heard.elapsed(),
                ..HostInfo::of(&member.beat, member.load)
            })
            .collect();
        list.sort_by_key(|host| (!host.is_this, host.number));
        list
    }

    /// A number below `most`, or 0.
    fn random(&self, most: usize) -> usize {
        let bits = self
            .random
            .hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
            >> 32;
        usize::try_from((bits * most as u64) >> 32).unwrap_or(0)
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<u32, Member>> {
        // No step under this lock can panic.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.asked.fetch_sub(1, Ordering::Relaxed);
        self.members.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_AFTER: Duration = Duration::from_secs(3);

    fn beat(number: u32, count: u64, running: u32) -> Beat {
        Beat {
            number,
            count,
            at: count,
            name: format!("host {number}"),
            role: Role::Both,
            version: String::new(),
            module: String::new(),
            address: String::new(),
            follows: std::collections::BTreeMap::new(),
            load: Load {
                seats: 4,
                running,
                waiting: 0,
            },
            is_draining: false,
            has_left: false,
            roots: Vec::new(),
        }
    }

    fn members(busy: &[u32]) -> Arc<Members> {
        let members = Arc::new(Members::new(0, LOST_AFTER));
        for (number, running) in (1..).zip(busy) {
            assert_eq!(members.heard(beat(number, 1, *running)), Change::Came);
        }
        members
    }

    #[test]
    fn of_two_the_idle_one_is_asked() {
        let members = members(&[4, 0]);
        for _ in 0..100 {
            assert_eq!(members.choose(&[], None).map(|host| host.number), Some(2));
        }
    }

    #[test]
    fn what_was_asked_counts_until_it_is_over() {
        let members = members(&[0, 0]);
        let asked: Vec<_> = (0..16).map(|_| members.choose(&[], None)).collect();
        let of = |number| {
            let hosts = asked.iter().flatten();
            hosts.filter(|host| host.number == number).count()
        };
        assert_eq!(
            (of(1), of(2)),
            (8, 8),
            "both are full, and neither is fuller"
        );
        assert!(members.choose(&[], None).is_none(), "all are full");
        drop(asked);
        assert!(members.choose(&[], None).is_some());
    }

    #[test]
    fn nobody_asks_who_is_as_busy() {
        let members = members(&[2]);
        let own = |running| {
            Some(Load {
                seats: 4,
                running,
                waiting: 0,
            })
        };
        assert!(members.choose(&[], own(2)).is_none());
        assert!(members.choose(&[], own(3)).is_some());
        assert!(members.choose(&[1], own(4)).is_none(), "it was tried");
    }

    #[test]
    fn a_beat_of_the_past_changes_nothing() {
        let members = members(&[0]);
        assert_eq!(members.heard(beat(1, 1, 3)), Change::None);
        let last = Beat {
            has_left: true,
            ..beat(1, 3, 0)
        };
        assert_eq!(members.heard(last), Change::Left);
        assert_eq!(members.heard(beat(1, 2, 0)), Change::None);
        assert_eq!(
            members.heard(beat(1, 4, 0)),
            Change::None,
            "it has left for ever"
        );
        assert!(members.list().is_empty());
    }

    #[test]
    fn who_was_lost_comes_back() {
        let members = members(&[0]);
        assert_eq!(members.lose(1), Some("host 1".to_owned()));
        assert_eq!(members.lose(1), None);
        assert!(members.choose(&[], None).is_none());
        assert_eq!(members.heard(beat(1, 2, 0)), Change::Came);
        assert!(members.choose(&[], None).is_some());
    }
}
