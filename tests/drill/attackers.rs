//! Bad clients, one kind for each attacker. Each repeats its one misdeed at its own pace, and
//! accepts any answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::door::Address;
use crate::support::{Client, Server};

/// One misdeed of a bad client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Misdeed {
    /// A request that is bad for the process that serves it.
    Ask(&'static str),
    /// The same for a program. Its root runs the body as a script.
    Script(&'static str),
    /// A head of this many bytes.
    Head(usize),
    /// A path of this many bytes.
    Target(usize),
    /// Half of a head, followed by a pause.
    Half,
    /// A request for a large answer, of which the client reads little.
    Slow(&'static str),
    /// A request whose client leaves at once.
    Leave(&'static str),
    /// Half of a handshake of TLS, followed by a pause.
    Hello,
    /// Bytes that are neither HTTP nor TLS.
    Garbage,
    /// A harmless request, for comparison.
    Nothing,
}

/// A misdeed and its pace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attacker {
    pub(crate) misdeed: Misdeed,
    /// The pause between two misdeeds.
    pub(crate) pause: Duration,
}

pub(crate) const fn every(milliseconds: u64, misdeed: Misdeed) -> Attacker {
    Attacker {
        misdeed,
        pause: Duration::from_millis(milliseconds),
    }
}

impl Attacker {
    /// Repeats the misdeed until the attack is over.
    pub(crate) fn attack(&self, server: &Server, is_over: &AtomicBool) {
        let mut client = None;
        while !is_over.load(Ordering::Relaxed) {
            // Replaces a connection that the host has closed. Tries again if the host refuses it.
            let connection = client.take().or_else(|| self.connect(server));
            client = connection.and_then(|client| self.commit(client));
            std::thread::sleep(self.pause);
        }
    }

    /// Connects to the server's door. Half a head is one of HTTP/1, and what is not HTTP is not
    /// sent above TLS.
    fn connect(&self, server: &Server) -> Option<Client> {
        let address = match (self.misdeed, &server.door) {
            (
                Misdeed::Hello | Misdeed::Garbage,
                Address::Tls(address) | Address::Http2(address),
            ) => Address::Http1(*address),
            (Misdeed::Half, Address::Http2(address)) => Address::Tls(*address),
            (_, door) => door.clone(),
        };
        Client::try_connect(address).ok()
    }

    /// Commits the misdeed once. Returns the connection if it can be used again.
    fn commit(&self, mut client: Client) -> Option<Client> {
        match self.misdeed {
            Misdeed::Ask(target) => client.try_request("GET", target, &[], b"").ok()?,
            Misdeed::Script(script) => client
                .try_request("POST", "/", &[], script.as_bytes())
                .ok()?,
            Misdeed::Head(bytes) => {
                let value = "x".repeat(bytes);
                client
                    .try_request("GET", "/ok", &[("x-large", &value)], b"")
                    .ok()?
            }
            Misdeed::Target(bytes) => {
                let target = format!("/{}", "a/".repeat(bytes / 2));
                client.try_request("GET", &target, &[], b"").ok()?
            }
            Misdeed::Half => {
                client
                    .send(b"GET /ok HTTP/1.1\r\nhost: x\r\nx-half: ")
                    .ok()?;
                std::thread::sleep(self.pause);
                return None;
            }
            Misdeed::Slow(target) => {
                client.try_ask("GET", target, &[], b"").ok()?;
                let _head = client.head().ok()?;
                std::thread::sleep(self.pause);
                return None;
            }
            Misdeed::Leave(target) => {
                client.try_ask("GET", target, &[], b"").ok()?;
                return None;
            }
            Misdeed::Nothing => client.try_request("POST", "/ok", &[], b"answer").ok()?,
            Misdeed::Hello => {
                client.send(b"\x16\x03\x01\x02\0\x01\0\r\n\r\n").ok()?;
                std::thread::sleep(self.pause);
                return None;
            }
            Misdeed::Garbage => {
                client.send(b"\0\0\0\0\r\n\r\n").ok()?;
                let _answer = client.rest().ok()?;
                return None;
            }
        };
        Some(client)
    }
}
