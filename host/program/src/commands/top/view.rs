//! The *view*: what `top` shows of the last samples, and what its keys change. It knows neither
//! the host nor the terminal. `tables` has the columns.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;

use clap::ValueEnum;
use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::cli::Order;
use crate::commands::printable::shortened;
use crate::commands::ps;
use crate::control::api::{self, Process, Rate, Status};

use super::tables::{self, Paint, per_second};

/// Characters of an address or an error that the first line shows.
const SENTENCE: usize = 60;

const HELP: &str = "\
q Esc          quit
s              sort the processes by another column
p              pause, and go on
up down j k    scroll the processes by a line
PgUp PgDn      scroll the processes by a page
Home End       go to the first process or the last
?              this help; any key leaves it

ALIVE          processes, and how many there may be
LINE           requests that wait for a process
FAIL/S         answers with a status of 500 or more, per second
P50 P99        half of the requests, and 99 of 100, take no longer
REFUSED        requests that the pool did not accept, since the start
GEN            how often the module has been loaded
REQUEST FOR    the number of the current request, and how long it has run
CPU%           of one core

REQ/S, FAIL/S, P50, P99 and CPU% are of the time since the last sample.";

/// A host at one moment.
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) processes: Vec<Process>,
}

pub(super) struct View {
    /// The last sample, with its processes in `order`.
    now: Sample,
    /// One per pool, since the sample before. There are none after the first sample.
    rates: Vec<Rate>,
    /// By pid, CPU time in thousandths of the time since the sample before.
    cpu: HashMap<u64, u64>,
    /// Why the host could not be asked again.
    lost: Option<String>,
    order: Order,
    /// Processes above the first that is shown. It may be more than there are: `first` is not.
    scroll: usize,
    /// The number of processes for which there was room the last time.
    page: Cell<usize>,
    is_paused: bool,
    is_helping: bool,
    paint: Paint,
}

/// What is to be done after a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

impl View {
    pub(super) fn new(first: Sample, order: Order, paint: Paint) -> Self {
        let mut view = Self {
            now: first,
            rates: Vec::new(),
            cpu: HashMap::new(),
            lost: None,
            order,
            scroll: 0,
            page: Cell::new(0),
            is_paused: false,
            is_helping: false,
            paint,
        };
        view.sort();
        view
    }

    pub(super) fn take(&mut self, sample: Sample) {
        let before = std::mem::replace(&mut self.now, sample);
        self.rates = api::rates(&before.status, &self.now.status);
        self.cpu = cpu(&before.processes, &self.now.processes);
        self.lost = None;
        self.sort();
    }

    /// The last sample stays, and the first line says that it is an old one.
    pub(super) fn lose(&mut self, error: &anyhow::Error) {
        self.lost = Some(format!("{error:#}"));
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Stay;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if std::mem::take(&mut self.is_helping) {
            return Next::Stay;
        }
        let page = self.page.get();
        let at = self.first();
        #[allow(clippy::wildcard_enum_match_arm)] // of a foreign type with dozens of keys
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('?') => self.is_helping = true,
            KeyCode::Char('s') => {
                self.order = after(self.order);
                self.scroll = 0;
                self.sort();
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll = at.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = at + 1,
            KeyCode::PageUp => self.scroll = at.saturating_sub(page),
            KeyCode::PageDown => self.scroll = at + page,
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        Next::Stay
    }

    pub(super) fn draw(&self, frame: &mut Frame) {
        let line = Constraint::Length(1);
        let whole = Layout::vertical([line, Constraint::Fill(1), line]);
        let [head, body, foot] = whole.areas(frame.area());
        frame.render_widget(self.head(), head);
        frame.render_widget(self.foot(), foot);
        match self.is_helping {
            true => frame.render_widget(Paragraph::new(HELP), body),
            false => self.draw_tables(frame, body),
        }
    }

    fn draw_tables(&self, frame: &mut Frame, area: Rect) {
        let status = &self.now.status;
        // However many pools there are, half of the screen is left for the processes.
        let wanted = u16::try_from(status.pools.len() + 1).unwrap_or(u16::MAX);
        let [pools, between, processes] = Layout::vertical([
            Constraint::Length(wanted.min(area.height / 2)),
            Constraint::Length(1),
            Constraint::Fill(1),
        ])
        .areas(area);
        let shown_pools = tables::pools(frame, pools, self.paint, &status.pools, &self.rates);
        self.page.set(tables::room(processes));
        let first = self.first();
        let all = &self.now.processes;
        let shown = &all[first..all.len().min(first + self.page.get())];
        tables::processes(frame, processes, self.paint, shown, &self.cpu);
        let text = format!(
            "pools {} of {} · processes {} of {}, by {}",
            range(0, shown_pools),
            status.pools.len(),
            range(first, shown.len()),
            all.len(),
            name(self.order)
        );
        frame.render_widget(Line::from(text), between);
    }

    fn head(&self) -> Line<'static> {
        let status = &self.now.status;
        let (color, state) = match (&self.lost, &status.obstacle) {
            (Some(why), _) => (Color::Red, format!("old sample: {why}")),
            (None, Some(obstacle)) => (Color::Yellow, format!("not ready: {obstacle}")),
            (None, None) => (Color::Green, "ready".to_owned()),
        };
        let mut spans = vec![Span::from(format!("host {} · ", status.pid))];
        if self.is_paused {
            let style = Style::new().add_modifier(Modifier::REVERSED);
            spans.extend([Span::styled("paused", style), Span::from(" · ")]);
        }
        spans.push(Span::styled(
            shortened(&state, SENTENCE),
            self.paint.with(color),
        ));
        let requests = match &*self.rates {
            [] => "-".to_owned(),
            rates => per_second(rates.iter().map(|rate| rate.requests).sum()),
        };
        spans.push(Span::from(format!(
            " · {requests} req/s · {} · up {} · {}",
            shortened(&status.address, SENTENCE),
            ps::time(status.age_ms),
            shortened(&status.version, SENTENCE),
        )));
        Line::from(spans).style(Modifier::BOLD)
    }

    fn foot(&self) -> Line<'static> {
        let pause = if self.is_paused { "go on" } else { "pause" };
        let next = name(after(self.order));
        let text =
            format!("q quit   s sort by {next}   p {pause}   arrows PgUp PgDn Home End   ? help");
        Line::from(text).style(Modifier::BOLD)
    }

    /// The first process that is shown: no room is left below the last.
    fn first(&self) -> usize {
        let page = self.page.get().max(1);
        self.scroll
            .min(self.now.processes.len().saturating_sub(page))
    }

    fn sort(&mut self) {
        let processes = &mut self.now.processes;
        processes.sort_by_key(|process| process.pid);
        ps::sort(processes, self.order);
        // The column has the CPU time since the last sample, and not of the whole life.
        if self.order == Order::Cpu {
            processes.sort_by_key(|process| Reverse(self.cpu.get(&process.pid)));
        }
    }
}

/// By pid, thousandths of the time that has passed. A process has both times from one moment, so
/// slow answers do not distort this. A new process counts from its start.
fn cpu(before: &[Process], after: &[Process]) -> HashMap<u64, u64> {
    let times = |process: &Process| (process.pid, (process.cpu_ms, process.age_ms));
    let before: HashMap<_, _> = before.iter().map(times).collect();
    let share = |process: &Process| {
        let (cpu, age) = before.get(&process.pid).copied().unwrap_or_default();
        let used = process.cpu_ms.saturating_sub(cpu).saturating_mul(1000);
        let share = used.checked_div(process.age_ms.saturating_sub(age))?;
        Some((process.pid, share))
    };
    after.iter().filter_map(share).collect()
}

fn range(first: usize, count: usize) -> String {
    format!("{}-{}", first + count.min(1), first + count)
}

/// The next order, as `--help` lists them; the first comes after the last.
fn after(order: Order) -> Order {
    let all = Order::value_variants().iter().copied().cycle();
    let mut rest = all.skip_while(|other| *other != order).skip(1);
    rest.next().unwrap_or(order)
}

fn name(order: Order) -> String {
    let value = order.to_possible_value();
    let name = value.map(|value| value.get_name().to_owned());
    name.unwrap_or_default()
}
