//! A *network* of several machines in one: namespaces of the kernel with real links between them. A
//! test takes a link down, or has its packets vanish. Nothing of it has a name on this machine, so
//! whatever becomes of the test, the kernel removes it. Only root may make one.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use rustix::process::geteuid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::untested;

/// The address of the hub, on each of its links. No network of this machine sees it.
const HUB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// Nobody has this address of Ethernet: who sends there sends into the void.
const NOBODY: &str = "02:00:00:00:00:99";

/// A machine, as far as networks are concerned.
struct Machine(File);

/// The machine in the middle.
pub(crate) struct Hub(Machine);

/// A machine with one link, to the hub.
pub(crate) struct Spoke<'a> {
    hub: &'a Hub,
    own: Machine,
    address: Ipv4Addr,
    /// The hub's end of the link. The other end is called `uplink`.
    hubs_end: String,
}

/// How a link is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    /// The end of the spoke is down: its kernel knows of no way to the hub.
    OwnEnd,
    /// The end of the hub is down: the spoke's kernel sees that nobody is at the other end.
    HubsEnd,
    /// Both ends are up, and what is sent does not arrive.
    Packets,
}

impl Machine {
    fn new() -> Result<Self, String> {
        let make = || {
            // SAFETY: nothing but the network is this thread's own from now on, and it has no
            // descriptors that others don't have.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            File::open("/proc/thread-self/ns/net")
        };
        let made = thread::spawn(make).join().expect("no step can panic");
        let machine = made.map(Self).map_err(|error| error.to_string())?;
        machine.ip("link set dev lo up")?;
        Ok(machine)
    }

    /// Does this in a thread that is on this machine. So is every process that it starts, and every
    /// socket that it makes.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let here = self.0.as_fd();
            move_into_link_name_space(here, Some(LinkNameSpaceType::Network))
                .expect("who has made it may enter it");
            act()
        };
        thread::scope(|scope| scope.spawn(enter).join())
            .unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Runs `ip` there, with these words.
    fn ip(&self, words: &str) -> Result<(), String> {
        let output = self.within(|| {
            let mut command = Command::new("ip");
            command.args(words.split_whitespace()).output()
        });
        let output = output.map_err(|error| format!("ip: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let is_done = output.status.success();
        is_done.then_some(()).ok_or(format!("ip {words}: {said}"))
    }
}

impl Hub {
    /// `None` if this process may not make machines, or this kernel has no such links. It says so.
    pub(crate) fn new() -> Option<Self> {
        if !geteuid().is_root() {
            untested("only root can make a network of namespaces");
            return None;
        }
        let made = Machine::new().and_then(|machine| {
            machine.ip(&format!("addr add {HUB}/32 dev lo"))?;
            machine.ip("link add name try type veth peer name tried")?;
            machine.ip("link del try")?;
            Ok(machine)
        });
        let made = made.inspect_err(|why| untested(&format!("no network of namespaces: {why}")));
        made.ok().map(Self)
    }

    /// The hub's address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        HUB
    }

    /// Does this on the hub.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.0.within(act)
    }

    /// Links a new machine to the hub. Each has a number of its own.
    pub(crate) fn spoke(&self, number: u8) -> Spoke<'_> {
        let own = Machine::new().expect("as the hub was made");
        let address = Ipv4Addr::new(10, 0, 1, number);
        let hubs_end = format!("to-{number}");
        // For `ip`, this file is the other machine.
        let there = format!("/proc/{}/fd/{}", std::process::id(), own.0.as_raw_fd());
        let spoke = Spoke {
            hub: self,
            own,
            address,
            hubs_end,
        };
        let end = &spoke.hubs_end;
        spoke.hub(&format!(
            "link add name {end} type veth peer name uplink netns {there}"
        ));
        // The kernel adds the routes, and adds them again whenever an end is up again.
        spoke.hub(&format!("addr add {HUB}/32 peer {address} dev {end}"));
        spoke.hub(&format!("link set dev {end} up"));
        spoke.own(&format!("addr add {address}/32 peer {HUB} dev uplink"));
        spoke.own("link set dev uplink up");
        spoke
    }
}

impl Spoke<'_> {
    /// Does this on the spoke.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        self.own.within(act)
    }

    pub(crate) fn cut(&self, how: Cut) {
        let (end, address) = (&self.hubs_end, self.address);
        match how {
            Cut::OwnEnd => self.own("link set dev uplink down"),
            Cut::HubsEnd => self.hub(&format!("link set dev {end} down")),
            Cut::Packets => {
                let void = format!("lladdr {NOBODY} nud permanent");
                self.hub(&format!("neigh replace {address} {void} dev {end}"));
                self.own(&format!("neigh replace {HUB} {void} dev uplink"));
            }
        }
    }

    pub(crate) fn heal(&self, how: Cut) {
        let (end, address) = (&self.hubs_end, self.address);
        match how {
            Cut::OwnEnd => self.own("link set dev uplink up"),
            Cut::HubsEnd => self.hub(&format!("link set dev {end} up")),
            Cut::Packets => {
                self.hub(&format!("neigh del {address} dev {end}"));
                self.own(&format!("neigh del {HUB} dev uplink"));
            }
        }
    }

    fn own(&self, words: &str) {
        self.own.ip(words).expect("the spoke's end changes");
    }

    fn hub(&self, words: &str) {
        self.hub.0.ip(words).expect("the hub's end changes");
    }
}
