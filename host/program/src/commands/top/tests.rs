//! `top`, drawn without a terminal.

use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;
use serde_json::json;

use super::tables::Paint;
use super::view::{Next, Sample, View};
use crate::cli::Order;

/// Two pools and so many processes. Process n uses n tenths of a core.
fn sample(age_ms: u64, processes: u64) -> Sample {
    let share = |thousandths: u64| age_ms * thousandths / 1000;
    let counts = [share(555), share(395), 0, 0, 0, 0, share(50)];
    let latency = json!({
        "requests": age_ms, "p50_us": 90, "p90_us": 900, "p99_us": 9_000, "counts": counts,
    });
    let pool = |name, max: Option<u32>, is_failing| {
        json!({
            "name": name, "routes": ["/*"], "kind": "handle", "module": "hello.wasm",
            "min": 2, "max": max, "idle": 1, "alive": 3, "waiting": 0,
            "generation": 4, "memory": 3 << 20, "is_draining": false, "is_failing": is_failing,
            "responses": [0, age_ms, 0, 0, 0], "refused": 7, "restarts": 8, "latency": latency,
        })
    };
    let process = |pid| {
        let is_running = pid == 3;
        json!({
            "pid": pid, "pool": "main", "kind": "handle",
            "state": if is_running { "running" } else { "idle" }, "state_ms": 2_000,
            "age_ms": age_ms, "requests": pid * 10, "request": is_running.then_some(12),
            "request_ms": is_running.then_some(1_500), "memory": pid << 20,
            "cpu_ms": age_ms * pid / 10, "open_files": 1, "messages": null, "parent": null,
            "names": [],
        })
    };
    let status = json!({
        "version": "0.6.0", "pid": 123, "address": "http://127.0.0.1:8080", "age_ms": age_ms,
        "answered": age_ms, "obstacle": null, "ended": {},
        "pools": [pool("main", Some(64), false), pool("api", None, true)],
    });
    let processes = (1..=processes).map(process).map(serde_json::from_value);
    Sample {
        status: serde_json::from_value(status).expect("a status"),
        processes: processes.collect::<Result<_, _>>().expect("processes"),
    }
}

/// A view of two samples, a second apart.
fn view(processes: u64) -> View {
    let mut view = View::new(sample(60_000, processes), Order::Pid, Paint::Coloured);
    view.take(sample(61_000, processes));
    view
}

fn terminal(columns: u16, rows: u16) -> Terminal<TestBackend> {
    Terminal::new(TestBackend::new(columns, rows)).expect("a terminal in memory")
}

fn draw(view: &View, columns: u16, rows: u16) -> Vec<String> {
    let mut terminal = terminal(columns, rows);
    terminal.draw(|frame| view.draw(frame)).expect("drawn");
    let cells = terminal.backend().buffer().content();
    let row = |cells: &[ratatui::buffer::Cell]| -> String {
        let row: String = cells.iter().map(|cell| cell.symbol()).collect();
        row.trim_end().to_owned()
    };
    cells.chunks(columns.into()).map(row).collect()
}

fn press(view: &mut View, code: KeyCode) -> Next {
    view.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// The pids on the screen.
fn pids(view: &View) -> Vec<u64> {
    let screen = draw(view, 80, 24);
    let pids = screen.iter().skip(6).map_while(|line| {
        let pid = line.split_whitespace().next()?;
        pid.parse().ok()
    });
    pids.collect()
}

#[test]
fn everything_is_on_a_small_screen() {
    let expected = [
        "host 123 · ready · 2000 req/s · http://127.0.0.1:8080 · up 1m 1s · 0.6.0",
        "POOL        ALIVE IDLE LINE  REQ/S FAIL/S   P50   P99 REFUSED RESTARTS GEN",
        "main         3/64    1    0   1000    0.0  90us 9.0ms       7        8   4",
        "api failing     3    1    0   1000    0.0  90us 9.0ms       7        8   4",
        "pools 1-2 of 2 · processes 1-6 of 6, by pid",
        "  PID POOL   STATE        SINCE REQUESTS REQUEST       FOR    MEMORY  CPU% FILES",
        "    1 main   idle            2s       10       -         -   1.0 MiB  10.0     1",
        "    2 main   idle            2s       20       -         -   2.0 MiB  20.0     1",
        "    3 main   running         2s       30      12  1s 500ms   3.0 MiB  30.0     1",
    ];
    let screen = draw(&view(6), 80, 24);
    assert_eq!(screen[..expected.len()], expected);
    let foot = "q quit   s sort by age   p pause   arrows PgUp PgDn Home End   ? help";
    assert_eq!(screen[23], foot);
    let wide = draw(&view(6), 120, 24);
    assert!(wide[1].ends_with("MEMORY") && wide[5].ends_with("MAILBOX"));
}

#[test]
fn a_first_sample_has_no_rates() {
    let view = View::new(sample(60_000, 1), Order::Pid, Paint::Coloured);
    let screen = draw(&view, 80, 24);
    assert!(screen[0].contains("ready · - req/s"), "{screen:#?}");
    assert!(screen[6].ends_with("1.0 MiB     -     1"), "{screen:#?}");
}

#[test]
fn no_size_is_too_small() {
    let mut view = view(40);
    for help in ["", "?"] {
        let keys = help.chars().map(KeyCode::Char);
        for (columns, rows) in (1..=20).flat_map(|columns| (1..=8).map(move |rows| (columns, rows)))
        {
            draw(&view, columns, rows);
            press(&mut view, KeyCode::PageDown);
            draw(&view, columns, rows);
            for key in keys.clone() {
                press(&mut view, key);
            }
        }
    }
}

#[test]
fn keys_scroll() {
    let mut view = view(100);
    assert_eq!(pids(&view), (1..=17).collect::<Vec<_>>());
    for (key, first) in [
        (KeyCode::Up, 1),
        (KeyCode::Down, 2),
        (KeyCode::Char('j'), 3),
        (KeyCode::Char('k'), 2),
        (KeyCode::PageDown, 19),
        (KeyCode::PageUp, 2),
        (KeyCode::End, 84),
        (KeyCode::Down, 84),
        (KeyCode::Up, 83),
        (KeyCode::Home, 1),
    ] {
        assert_eq!(press(&mut view, key), Next::Stay);
        assert_eq!(pids(&view)[0], first, "{key}");
    }
    press(&mut view, KeyCode::End);
    view.take(sample(62_000, 20));
    assert_eq!(pids(&view), (4..=20).collect::<Vec<_>>());
    view.take(sample(63_000, 0));
    assert_eq!(pids(&view), Vec::<u64>::new());
}

#[test]
fn keys_sort_pause_and_help() {
    let mut view = view(6);
    for (order, first) in [
        ("age", 1),
        ("requests", 6),
        ("running", 3),
        ("memory", 6),
        ("cpu", 6),
        ("pid", 1),
    ] {
        press(&mut view, KeyCode::Char('s'));
        let screen = draw(&view, 80, 24);
        assert!(screen[4].ends_with(&format!("by {order}")), "{screen:#?}");
        assert_eq!(pids(&view)[0], first, "{order}");
    }
    press(&mut view, KeyCode::Char('p'));
    assert!(view.is_paused() && draw(&view, 80, 24)[0].contains(" · paused · "));
    press(&mut view, KeyCode::Char('p'));
    assert!(!view.is_paused());
    press(&mut view, KeyCode::Char('?'));
    let screen = draw(&view, 80, 24);
    assert!(
        screen[1].ends_with("quit") && screen[18].starts_with("REQ/S"),
        "{screen:#?}"
    );
    press(&mut view, KeyCode::Char('q'));
    assert_eq!(pids(&view).len(), 6);
}

#[test]
fn keys_quit() {
    let mut view = view(1);
    assert_eq!(press(&mut view, KeyCode::Char('q')), Next::Quit);
    assert_eq!(press(&mut view, KeyCode::Esc), Next::Quit);
    assert_eq!(press(&mut view, KeyCode::Char('c')), Next::Stay);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(view.key(interrupt), Next::Quit);
}

/// CPU time is what a process has used since the last sample, even if another has used more in all.
#[test]
fn cpu_time_is_of_now() {
    let mut view = View::new(sample(60_000, 3), Order::Cpu, Paint::Coloured);
    let mut next = sample(62_000, 4);
    next.processes[0].cpu_ms += 1_000;
    view.take(next);
    let screen = draw(&view, 80, 24);
    let cpu: Vec<_> = screen[6..10]
        .iter()
        .filter_map(|line| line.split_whitespace().rev().nth(1))
        .collect();
    assert_eq!(cpu, ["60.0", "40.0", "30.0", "20.0"], "{screen:#?}");
}

#[test]
fn the_head_says_what_is_wrong() {
    let mut view = view(1);
    view.lose(&anyhow::anyhow!("no answer\x07"));
    let lost = draw(&view, 80, 24);
    assert!(
        lost[0].starts_with("host 123 · old sample: no answer\u{fffd} · 2000"),
        "{lost:#?}"
    );
    let mut stopping = sample(62_000, 1);
    stopping.status.obstacle = Some("stopping".to_owned());
    view.take(stopping);
    assert!(draw(&view, 80, 24)[0].starts_with("host 123 · not ready: stopping · "));
}

#[test]
fn control_characters_are_replaced() {
    let mut evil = sample(60_000, 1);
    let name = "a\x1b[2Jb\u{9b}c\n\u{202e}d\x7f";
    evil.status.pools[0].name = name.to_owned();
    evil.status.address = name.to_owned();
    evil.status.version = name.to_owned();
    evil.status.obstacle = Some(name.to_owned());
    evil.processes[0].pool = "long".repeat(1_000_000);
    evil.processes[0].state = name.to_owned();
    let screen = draw(&View::new(evil, Order::Pid, Paint::Coloured), 200, 24);
    let shown = "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\u{fffd}d\u{fffd}";
    for line in [0, 2, 6] {
        assert!(screen[line].contains(shown), "{screen:#?}");
    }
    assert!(
        screen[6].contains(&format!(" {}… ", "long".repeat(5))),
        "{screen:#?}"
    );
    assert!(
        !screen
            .concat()
            .contains(['\x1b', '\u{9b}', '\n', '\u{202e}', '\x7f'])
    );
}

/// If there is no room for all pools, a pool in trouble is not the one that is left out.
#[test]
fn half_of_the_screen_is_for_pools() {
    let mut many = sample(60_000, 20);
    let good = many.status.pools[0].clone();
    many.status.pools.splice(0..0, vec![good; 50]);
    let screen = draw(&View::new(many, Order::Pid, Paint::Coloured), 80, 24);
    assert!(screen[2].starts_with("api failing "), "{screen:#?}");
    assert_eq!(screen[12], "pools 1-10 of 52 · processes 1-9 of 20, by pid");
}

#[test]
fn colours_can_be_off() {
    for (paint, has_colours) in [(Paint::Coloured, true), (Paint::Plain, false)] {
        let view = View::new(sample(60_000, 6), Order::Pid, paint);
        let mut terminal = terminal(80, 24);
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        let mut cells = terminal.backend().buffer().content().iter();
        assert_eq!(cells.any(|cell| cell.fg != Color::Reset), has_colours);
    }
}

#[test]
fn ten_thousand_processes_are_drawn_at_once() {
    let view = view(10_000);
    let mut terminal = terminal(200, 60);
    // The fastest of some: other tests have the cores too.
    let times = (0..10).map(|_| {
        let start = Instant::now();
        terminal.draw(|frame| view.draw(frame)).expect("drawn");
        start.elapsed()
    });
    let fastest = times.min().expect("ten times");
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}
