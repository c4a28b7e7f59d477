//! The figures as a table for people, or as JSON for programs.

use crate::{NO_SIZE, Picoseconds, SIZES};

/// How the figures are printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    Table,
    Json,
}

/// The figures of one operation.
pub(crate) struct Row {
    pub(crate) operation: &'static str,
    /// A message's size in bytes, and the time.
    pub(crate) figures: Vec<(usize, Picoseconds)>,
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
                let cell =
                    |bytes| figure(bytes).map_or(String::new(), |&(_, time)| microseconds(time));
                println!("{}", line(row.operation, cell));
            }
            Self::Json => {
                for &(bytes, time) in &row.figures {
                    println!("{}", json(row.operation, bytes, time));
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
fn json(operation: &str, bytes: usize, time: Picoseconds) -> String {
    let us = microseconds(time);
    format!(r#"{{"operation":"{operation}","bytes":{bytes},"us":{us}}}"#)
}

fn size(bytes: usize) -> String {
    match bytes / 1024 {
        0 => format!("{bytes} B"),
        kib => format!("{kib} KiB"),
    }
}

/// Three digits that count; the rest is noise.
fn microseconds(time: Picoseconds) -> String {
    const PICOSECONDS: Picoseconds = 1_000_000;
    let mut decimals = 0;
    while time * 10_u64.pow(decimals) < 100 * PICOSECONDS && decimals < 5 {
        decimals += 1;
    }
    let unit = 10_u64.pow(decimals);
    let digits = (time * unit + PICOSECONDS / 2) / PICOSECONDS;
    let (whole, rest) = (digits / unit, digits % unit);
    match decimals {
        0 => whole.to_string(),
        _ => format!("{whole}.{rest:0width$}", width = decimals as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_count() {
        assert_eq!(microseconds(1_234_400_000), "1234");
        assert_eq!(microseconds(123_450_000), "123");
        assert_eq!(microseconds(12_345_000), "12.3");
        assert_eq!(microseconds(1_234_500), "1.23");
        assert_eq!(microseconds(123_450), "0.123");
        assert_eq!(microseconds(12_345), "0.0123");
        assert_eq!(microseconds(0), "0.00000");
    }

    #[test]
    fn a_figure_is_a_line_of_json() {
        assert_eq!(
            json("round trip", 8, 812_300),
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
