//! Mail between hosts: a process that sends without end, and a judge of what comes of it.

use std::thread::sleep;
use std::time::Duration;

use wasm_pool_guest::mailbox::{self, Data, ErrorCode, Exit, Incoming, Outgoing, Pid};
use wasm_pool_guest::process;

/// A pause while another host can't be reached.
const PAUSE: Duration = Duration::from_millis(5);

/// Sends the same bytes many times, whatever becomes of them. Says how often they were taken.
pub(crate) fn flood(to: Pid, times: u32, bytes: &[u8]) -> String {
    let taken = (0..times).filter(|_| {
        let bytes = bytes.to_vec();
        mailbox::send(to, Outgoing::Data(Data { tag: 1, bytes })).is_ok()
    });
    format!("{} taken", taken.count())
}

/// Sends messages whose tags are 1, 2, 3, … until the receiver has ended. A message that was
/// refused is sent again.
pub(crate) fn stream(to: Pid) -> String {
    const AT_ONCE: u64 = 8;
    let mut tag = 1;
    loop {
        let bytes = Vec::new();
        match mailbox::send(to, Outgoing::Data(Data { tag, bytes })) {
            Ok(()) if tag % AT_ONCE == 0 => {
                tag += 1;
                sleep(Duration::from_millis(1));
            }
            Ok(()) => tag += 1,
            Err(ErrorCode::MailboxFull | ErrorCode::Unreachable) => sleep(PAUSE),
            Err(error) => return error.name().into(),
        }
    }
}

/// What the judge knows of its monitor.
#[derive(Clone, Copy, PartialEq)]
enum Watched {
    /// Messages may be lost without news.
    No,
    /// Nothing is lost without news from the next message on.
    FromNext,
    Yes,
}

/// Receives what one process streams to this one, until that process has ended. No message comes
/// twice or late, and behind each that is missing there was news of a lost host.
pub(crate) fn judge() -> String {
    let own = mailbox::self_();
    let (mut sender, mut last, mut losses, mut gaps) = (None, 0, 0, 0);
    let (mut watched, mut mark) = (Watched::No, 0);
    loop {
        let message = mailbox::receive();
        let from = message.sender;
        let is_to_watch = match &message.content {
            // What was in the mailbox before may have come while nobody watched.
            Incoming::Data(data) if from == own => {
                if data.tag == mark {
                    watched = Watched::FromNext;
                }
                false
            }
            Incoming::Data(data) => {
                let tag = data.tag;
                if tag <= last {
                    return format!("{tag} came behind {last}");
                }
                if tag > last + 1 {
                    if watched == Watched::Yes {
                        return format!("{tag} came behind {last}, without a word");
                    }
                    gaps += 1;
                }
                last = tag;
                if watched == Watched::FromNext {
                    watched = Watched::Yes;
                }
                sender.replace(from).is_none()
            }
            Incoming::Down(down) if matches!(down.exit, Exit::HostLost) => {
                losses += 1;
                true
            }
            Incoming::Down(_) => return format!("in order, {losses} losses, {gaps} gaps"),
            Incoming::Call(_) | Incoming::Request(_) => return format!("{message:?}"),
        };
        if is_to_watch {
            watched = Watched::No;
            mark += 1;
            if !watch(from) {
                return format!("in order, {losses} losses, {gaps} gaps");
            }
            let bytes = Vec::new();
            let marked = mailbox::send(own, Outgoing::Data(Data { tag: mark, bytes }));
            if let Err(error) = marked {
                return format!("no mark: {}", error.name());
            }
        }
    }
}

/// Monitors this process, once its host can be reached. Returns whether it lives.
fn watch(pid: Pid) -> bool {
    loop {
        match process::monitor(pid) {
            Ok(()) => return true,
            Err(process::ErrorCode::Unreachable) => sleep(PAUSE),
            Err(_) => return false,
        }
    }
}
