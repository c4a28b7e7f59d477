//! The figures as a *table*, for a terminal, and as a page that needs nothing from elsewhere.

use super::crash::OTHERS;
use super::figures::{Figures, Measured, Steps};
use super::subject::Structuring;
use crate::numbers::{short, whole};
use crate::plot::escaped;
use crate::table::{Row, Section, Table};

/// In place of a figure that is missing.
const GAP: &str = "not measured";

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1600px; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: 2rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem 1rem; text-align: right }
th:first-child, td:first-child { text-align: left }
thead th, th[colspan] { border-bottom: 1px solid #bbb; padding-top: .8rem }
dt { font-weight: 600 } dd { margin: 0 0 .4rem }
code { background: #f2f2f2; padding: .1rem .3rem }";

/// What was measured, in two lines.
pub(crate) fn subject(figures: &Figures) -> [String; 2] {
    let (load, machine) = (&figures.load, &figures.machine);
    let bytes = whole(load.body_bytes as f64);
    let rounds = if load.rounds == 1 { "round" } else { "rounds" };
    [
        format!(
            "module {}, path {}, {bytes} bytes · {} cores of {}",
            load.module, load.path, machine.cores, machine.processor
        ),
        format!(
            "{} {rounds} of {} s each · threads and fork-exec are native servers, without wasm",
            load.rounds, load.seconds
        ),
    ]
}

/// For a terminal.
pub(crate) fn text(figures: &Figures) -> String {
    let [subject, load] = subject(figures);
    let mut lines = vec![subject, load, String::new(), table(figures).text()];
    let gaps = figures.not_measured.iter();
    lines.extend(gaps.map(|gap| format!("{GAP}: {gap}")));
    lines.join("\n")
}

fn table(figures: &Figures) -> Table {
    let row = |label, cell: &dyn Fn(&Measured) -> String| {
        Row::new(label, figures.structurings.iter().map(cell).collect())
    };
    let named = Steps::NAMES.into_iter().enumerate();
    let mut steps: Vec<_> = named
        .map(|(at, name)| row(name, &|one| short(one.step_us.all()[at])))
        .collect();
    steps.push(row("together", &|one| short(one.step_us.sum())));
    let load = vec![
        row("requests per second", &|one| whole(one.requests_per_second)),
        row("rounds apart by, %", &|one| short(one.spread_percent)),
        row("latency p50, ms", &|one| short(one.latency_ms.p50)),
        row("latency p99, ms", &|one| short(one.latency_ms.p99)),
        row("latency p99.9, ms", &|one| short(one.latency_ms.p99_9)),
    ];
    let memory = row("one more takes, KiB", &|one| shown(one.memory_kib, short));
    let crash = vec![
        row("other requests lost", &|one| {
            shown(one.crash, |crash| crash.others_lost.to_string())
        }),
        row("connections lost", &|one| {
            shown(one.crash, |crash| crash.connections_lost.to_string())
        }),
        row("answers again after, ms", &|one| {
            let again = |time: Option<f64>| time.map_or("never".into(), short);
            shown(one.crash, |crash| again(crash.answers_again_ms))
        }),
    ];
    let under_load = format!("under load, {} connections", figures.load.connections);
    let crashes =
        format!("a worker of the bench's own crashes while {OTHERS} other requests are in flight");
    let sections = vec![
        Section::new(
            "work per request, in microseconds, on one connection",
            steps,
        ),
        Section::new(under_load, load).noting(order(figures)),
        Section::new("memory", vec![memory]),
        Section::new(crashes, crash),
    ];
    let names = figures.structurings.iter().map(|one| one.name.name());
    Table::new(&names.collect::<Vec<_>>(), sections)
}

/// Says where the rounds don't tell which structuring serves more requests.
fn order(figures: &Figures) -> Option<String> {
    if figures.load.rounds == 1 {
        return Some("one round does not say how far rounds lie apart".into());
    }
    let group = |group: Vec<Structuring>| {
        let names: Vec<_> = group.into_iter().map(Structuring::name).collect();
        names.join(", ")
    };
    let groups: Vec<_> = figures.without_order().into_iter().map(group).collect();
    (!groups.is_empty()).then(|| format!("rounds overlap, no order: {}", groups.join(" · ")))
}

fn shown<T>(figure: Option<T>, show: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| GAP.into(), show)
}

/// A page with the plots, the table, and how the figures were taken.
pub(crate) fn html(figures: &Figures, svg: &str) -> String {
    let machine = &figures.machine;
    let machine = format!(
        "{} cores of {}, Linux {}",
        machine.cores, machine.processor, machine.kernel
    );
    let mut facts = vec![
        ("Measured", escaped(&figures.date)),
        ("With", format!("wasm-pool-host {}", figures.version)),
        ("By", format!("<code>{}</code>", escaped(&figures.command))),
        ("On", escaped(&machine)),
    ];
    let gaps = figures.not_measured.iter();
    facts.extend(gaps.map(|gap| ("Not measured", escaped(gap))));
    let fact = |(name, value): &(&str, String)| format!("<dt>{name}</dt><dd>{value}</dd>\n");
    let facts: String = facts.iter().map(fact).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Work per request</title>\n<style>{STYLE}\n</style>\n\
         {svg}\n{}<dl>\n{facts}</dl>\n</html>\n",
        table(figures).html()
    )
}
