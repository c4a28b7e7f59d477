//! One *page* with everything: the plots, the table, and how it was measured. It needs nothing from elsewhere.

use std::fmt::Write;

use super::figures::Figures;
use super::table::{self, Row, Section};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1600px; margin: 2rem auto; padding: 0 1rem }
svg { width: 100%; height: auto }
table { border-collapse: collapse; margin: 2rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem 1rem; text-align: right }
th:first-child, td:first-child { text-align: left }
thead th, th[colspan] { border-bottom: 1px solid #bbb; padding-top: .8rem }
dt { font-weight: 600 } dd { margin: 0 0 .4rem }
code { background: #f2f2f2; padding: .1rem .3rem }";

/// The whole page.
pub(super) fn html(figures: &Figures, svg: &str) -> String {
    let (table, facts) = (body(figures), facts(figures));
    let head: String = table::names(figures)
        .iter()
        .map(|name| format!("<th>{name}</th>"))
        .collect();
    // An image in a page has no declaration of its own.
    let svg = svg.find("<svg").map_or(svg, |at| &svg[at..]);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Work per request</title>\n<style>{STYLE}\n</style>\n\
         {svg}\n\
         <table>\n<thead><tr><th></th>{head}</tr></thead>\n{table}</table>\n<dl>\n{facts}</dl>\n</html>\n"
    )
}

fn body(figures: &Figures) -> String {
    let columns = figures.structurings.len() + 1;
    let mut html = String::new();
    for Section { title, rows, note } in table::sections(figures) {
        // Writing to a string can't fail.
        let _ = writeln!(html, "<tr><th colspan=\"{columns}\">{title}</th></tr>");
        for Row { label, cells } in rows {
            let cells: String = cells
                .iter()
                .map(|cell| format!("<td>{cell}</td>"))
                .collect();
            let _ = writeln!(html, "<tr><td>{label}</td>{cells}</tr>");
        }
        if let Some(note) = note {
            let _ = writeln!(html, "<tr><td colspan=\"{columns}\">({note})</td></tr>");
        }
    }
    html
}

fn facts(figures: &Figures) -> String {
    let machine = &figures.machine;
    let mut facts = vec![
        ("Measured", escaped(&figures.date)),
        ("With", format!("wasm-pool-host {}", figures.version)),
        ("By", format!("<code>{}</code>", escaped(&figures.command))),
        (
            "On",
            escaped(&format!(
                "{} cores of {}, Linux {}",
                machine.cores, machine.processor, machine.kernel
            )),
        ),
    ];
    let gaps = figures.not_measured.iter();
    facts.extend(gaps.map(|gap| ("Not measured", escaped(gap))));
    let fact = |(name, value): &(&str, String)| format!("<dt>{name}</dt><dd>{value}</dd>\n");
    facts.iter().map(fact).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
