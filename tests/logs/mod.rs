//! What a person sees: one start line, one line for each request, and what guests print, with their
//! pids. Every test's server checks beside that each line of its log is flat JSON.

mod output;
mod requests;

/// Whether a terminal would show this as it is.
fn plain(text: &str) -> bool {
    text.chars()
        .all(|letter| letter == '\n' || !letter.is_control())
}

/// Whether a line ends where a log line ends. (JSON leaves DEL and what is above it as it is.)
fn plain_json(text: &str) -> bool {
    text.chars().all(|letter| letter == '\n' || letter >= ' ')
}
