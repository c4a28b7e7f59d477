//! The figures as a table for people, or as JSON for programs.

use crate::{NO_SIZE, SIZES};

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// The figures of one operation.
pub(crate) struct Row {
    pub(crate) operation: &'static str,
    /// A message's size in bytes, and the time in microseconds.
    pub(crate) figures: Vec<(usize, f64)>,
}

impl Format {
    /// Prints what stands above the rows.
    pub(crate) fn begin(self, rounds: usize) {
        if self == Self::Table {
            println!("{}", line(&format!("µs, median of {rounds}"), size));
        }
    }

    pub(crate) fn row(self, row: &Row) {
        match self {
            Self::Table => {
                let figure = |bytes| row.figures.iter().find(|figure| figure.0 == bytes);
                let cell = |bytes| figure(bytes).map_or(String::new(), |&(_, us)| significant(us));
                println!("{}", line(row.operation, cell));
            }
            Self::Json => {
                for &(bytes, us) in &row.figures {
                    println!("{}", json(row.operation, bytes, us));
                }
            }
        }
    }
}

/// A line of the table; it has a cell for each size.
fn line(title: &str, cell: impl Fn(usize) -> String) -> String {
    let sizes = NO_SIZE.iter().chain(SIZES);
    let cells: String = sizes.map(|&size| format!("{:>9}", cell(size))).collect();
    format!("{title:<20}{cells}")
}

/// An operation's name has nothing in it that JSON would escape.
fn json(operation: &str, bytes: usize, us: f64) -> String {
    let us = significant(us);
    format!(r#"{{"operation":"{operation}","bytes":{bytes},"us":{us}}}"#)
}

fn size(bytes: usize) -> String {
    match bytes / 1024 {
        0 => format!("{bytes} B"),
        kib => format!("{kib} KiB"),
    }
}

/// Three digits that count; the rest is noise.
fn significant(us: f64) -> String {
    let decimals = (2.0 - us.log10().floor()).clamp(0.0, 5.0) as usize;
    format!("{us:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        assert_eq!(significant(1234.5), "1234");
        assert_eq!(significant(123.45), "123");
        assert_eq!(significant(12.345), "12.3");
        assert_eq!(significant(1.2345), "1.23");
        assert_eq!(significant(0.12345), "0.123");
        assert_eq!(significant(0.012345), "0.0123");
        assert_eq!(significant(0.0), "0.00000");
    }

    #[test]
    fn a_figure_is_a_line_of_json() {
        assert_eq!(
            json("round trip", 8, 0.8123),
            r#"{"operation":"round trip","bytes":8,"us":0.812}"#
        );
    }

    #[test]
    fn columns_stand_below_each_other() {
        assert_eq!(
            line("µs", size),
            "µs                        0 B      8 B    1 KiB   64 KiB"
        );
    }
}
