//! The *table*: sections of rows under one head of columns, for a terminal, for a page, and in
//! Markdown.

/// The widths of a terminal's columns. Six fit 100 characters.
const LABEL_COLUMNS: usize = 27;
const CELL_COLUMNS: usize = 14;

/// The least widths of Markdown's columns, which are as wide as what is in them.
const NAME: usize = 24;
const COLUMN: usize = 12;

/// In Markdown, in place of a figure that is missing. The reason stands below the table.
pub(crate) const MISSING: &str = "—";

pub(crate) struct Table {
    head: Vec<String>,
    sections: Vec<Section>,
}

/// Rows that belong together.
pub(crate) struct Section {
    title: String,
    rows: Vec<Row>,
    /// What a reader must know of them.
    notes: Vec<String>,
}

/// One figure, in all columns.
pub(crate) struct Row {
    label: String,
    cells: Vec<String>,
}

impl Row {
    pub(crate) fn new(label: impl Into<String>, cells: Vec<String>) -> Self {
        Self {
            label: label.into(),
            cells,
        }
    }
}

impl Section {
    pub(crate) fn new(title: impl Into<String>, rows: Vec<Row>) -> Self {
        Self {
            title: title.into(),
            rows,
            notes: Vec::new(),
        }
    }

    pub(crate) fn noting(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}

impl Table {
    pub(crate) fn new(head: &[&str], sections: Vec<Section>) -> Self {
        Self {
            head: head.iter().map(|&name| name.into()).collect(),
            sections,
        }
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let cells = |cells: &[String]| -> String {
            let padded = cells.iter().map(|cell| format!("{cell:>CELL_COLUMNS$}"));
            padded.collect()
        };
        let mut lines = vec![format!("{:LABEL_COLUMNS$}{}", "", cells(&self.head))];
        for section in &self.sections {
            lines.push(section.title.clone());
            for row in &section.rows {
                let width = LABEL_COLUMNS - 2;
                lines.push(format!("  {:width$}{}", row.label, cells(&row.cells)));
            }
            lines.extend(section.notes.iter().map(|note| format!("  ({note})")));
        }
        lines.join("\n")
    }

    /// For a page.
    pub(crate) fn html(&self) -> String {
        let cells = |tag, cells: &[String]| -> String {
            let cell = |cell| format!("<{tag}>{cell}</{tag}>");
            cells.iter().map(cell).collect()
        };
        let columns = self.head.len() + 1;
        let mut html = format!(
            "<table>\n<thead><tr><th></th>{}</tr></thead>\n",
            cells("th", &self.head)
        );
        for Section { title, rows, notes } in &self.sections {
            html += &format!("<tr><th colspan=\"{columns}\">{title}</th></tr>\n");
            for Row { label, cells: row } in rows {
                html += &format!("<tr><td>{label}</td>{}</tr>\n", cells("td", row));
            }
            for note in notes {
                html += &format!("<tr><td colspan=\"{columns}\">({note})</td></tr>\n");
            }
        }
        html + "</table>\n"
    }

    /// A heading and a table for each section, which are read as they are in a terminal, too.
    pub(crate) fn markdown(&self) -> String {
        let sections = self.sections.iter();
        sections.map(|section| self.section(section)).collect()
    }

    fn section(&self, section: &Section) -> String {
        let width = |text: &String| text.chars().count();
        let label = section.rows.iter().map(|row| width(&row.label));
        let label = label.fold(NAME, usize::max);
        let widths: Vec<_> = (0..self.head.len())
            .map(|at| {
                let cells = section.rows.iter().filter_map(|row| row.cells.get(at));
                cells
                    .chain([&self.head[at]])
                    .map(width)
                    .fold(COLUMN, usize::max)
            })
            .collect();
        let row = |name: &str, cells: &[String]| -> String {
            let cells = cells.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!(" {cell:>width$} |"));
            format!("| {name:label$} |{}\n", cells.collect::<String>())
        };
        let rule = widths.iter().map(|width| "-".repeat(width + 1) + ":|");
        let rule = rule.collect::<String>();
        let mut text = format!("\n## {}\n\n", section.title);
        text += &row("", &self.head);
        text += &format!("|{}|{rule}\n", "-".repeat(label + 2));
        text.extend(section.rows.iter().map(|one| row(&one.label, &one.cells)));
        text.extend(section.notes.iter().map(|note| format!("\n{note}\n")));
        text
    }
}
