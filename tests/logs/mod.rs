//! The log for a human reader: one start line, one line for each request, and the output of guests
//! with their pids. In addition, every test's server checks that each line of its log is flat JSON.

mod output;
mod requests;

/// Whether a terminal shows this text unchanged.
fn plain(text: &str) -> bool {
    text.chars()
        .all(|letter| letter == '\n' || !letter.is_control())
}

/// Whether only line breaks are below the space. (JSON doesn't escape DEL and higher characters.)
fn plain_json(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || letter >= ' ')
}
