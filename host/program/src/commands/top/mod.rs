//! `top`: a running host, live in the terminal. This file owns the terminal, and feeds `view` with
//! samples and keys. The terminal is as it was before, however `top` ends.

mod tables;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::mem::ManuallyDrop;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::Order;
use crate::control::client::Remote;
use crate::signals;

use tables::Paint;
use view::{Next, Sample, View};

/// The shortest time between samples: nobody reads faster, and each sample costs the host work.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long a sample may take before the screen says that it shows an old one.
const PATIENCE: Duration = Duration::from_secs(5);

/// Keys that wait to be handled. A longer line waits in the terminal.
const KEYS: usize = 16;

/// The size of a terminal that does not know its own, such as a serial line.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// Shows the host until a key or a signal ends that.
///
/// # Errors
/// If there is no terminal, or the host can't be asked at first or has ended.
pub(super) async fn top(remote: &Remote, every: Duration, order: Order) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        bail!("top needs a terminal; ps and status print once");
    }
    let first = sample(remote, Duration::ZERO).await?;
    let mut view = View::new(first, order, paint());
    // Before the terminal is ours, so that none of them ends the program meanwhile.
    let mut signals = Signals::new().context("can't listen for signals")?;
    let mut screen = Screen::open().context("can't use the terminal")?;
    let shown = show(&mut screen, &mut view, &mut signals, remote, every).await;
    drop(screen);
    match shown? {
        End::Key => Ok(()),
        End::Signal(kind) => std::process::exit(signals::exit_code(kind).into()),
    }
}

/// What ended `top` in order.
enum End {
    Key,
    Signal(SignalKind),
}

async fn show(
    screen: &mut Screen,
    view: &mut View,
    signals: &mut Signals,
    remote: &Remote,
    every: Duration,
) -> anyhow::Result<End> {
    let every = every.max(SHORTEST);
    let mut events = events().context("the system gives no thread")?;
    let mut next = pin!(sample(remote, every));
    loop {
        let drawn = screen.terminal.draw(|frame| view.draw(frame));
        drawn.context("can't write to the terminal")?;
        tokio::select! {
            sampled = &mut next, if !view.is_paused() => {
                match sampled {
                    Ok(sample) => view.take(sample),
                    Err(error) if is_gone(&error) => bail!("the host has ended"),
                    Err(error) => view.lose(&error),
                }
                next.set(sample(remote, every));
            }
            event = events.recv() => match event.context("the terminal is gone")?? {
                Event::Key(key) => match view.key(key) {
                    Next::Stay => {}
                    Next::Quit => return Ok(End::Key),
                },
                Event::Resize(columns, rows) => screen.resize((columns, rows))?,
                Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => {}
            },
            kind = signals.next() => return Ok(End::Signal(kind)),
        }
    }
}

/// Waits, and asks the host then.
async fn sample(remote: &Remote, wait: Duration) -> anyhow::Result<Sample> {
    tokio::time::sleep(wait).await;
    let asked = async {
        let status = remote.status().await?;
        let processes = remote.processes().await?;
        Ok(Sample { status, processes })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(sampled) => sampled,
        Err(_late) => bail!("no answer for {} s", PATIENCE.as_secs()),
    }
}

/// Whether nobody listens on the control socket.
fn is_gone(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &io::Error| {
        matches!(
            cause.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    })
}

/// <https://no-color.org>: whoever sets `NO_COLOR`, and not to nothing, wants none.
fn paint() -> Paint {
    match std::env::var_os("NO_COLOR") {
        Some(value) if !value.is_empty() => Paint::Plain,
        Some(_) | None => Paint::Coloured,
    }
}

/// What happens at the terminal. A thread waits for it, since no call can be cancelled that does.
/// It ends with the program.
fn events() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, receiver) = mpsc::channel(KEYS);
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || {
            loop {
                let event = event::read();
                let is_last = event.is_err();
                if sender.blocking_send(event).is_err() || is_last {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// The terminal while it is ours. Dropping this gives it back; so does a panic, before it says why.
struct Screen {
    /// It never drops: if the terminal is gone, it would say so there, which panics.
    terminal: ManuallyDrop<DefaultTerminal>,
}

impl Screen {
    fn open() -> io::Result<Self> {
        // Not the full screen, whose size would be asked for again with each frame: a terminal
        // that does not know its size would have none.
        let viewport = Viewport::Fixed(area(terminal::size()?));
        let opened = ratatui::try_init_with_options(TerminalOptions { viewport });
        // Even half of that is undone.
        let terminal = opened.inspect_err(|_| restore())?;
        let terminal = ManuallyDrop::new(terminal);
        let screen = Self { terminal };
        // Not all terminals have another screen, and an empty one.
        let clear = terminal::Clear(terminal::ClearType::All);
        execute!(io::stdout(), terminal::EnterAlternateScreen, clear)?;
        Ok(screen)
    }

    fn resize(&mut self, size: (u16, u16)) -> anyhow::Result<()> {
        let resized = self.terminal.resize(area(size));
        resized.context("can't write to the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A panic has done so. The second time would put the cursor back, above what it said.
        if !std::thread::panicking() {
            restore();
        }
        let _gone = execute!(io::stdout(), cursor::Show);
    }
}

/// A terminal that is gone needs nothing.
fn restore() {
    let _gone = ratatui::try_restore();
}

fn area(size: (u16, u16)) -> Rect {
    let (columns, rows) = match size {
        (0, _) | (_, 0) => USUAL_SIZE,
        known => known,
    };
    Rect::new(0, 0, columns, rows)
}

/// The signals that end `top`. Ctrl-C is a key here, and no signal.
struct Signals([(SignalKind, Signal); 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let listen = |kind| signal(kind).map(|signals| (kind, signals));
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) -> SignalKind {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.1.recv() => interrupt.0,
            _ = terminate.1.recv() => terminate.0,
            _ = hangup.1.recv() => hangup.0,
        }
    }
}
