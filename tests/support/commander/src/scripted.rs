//! A command that runs the script of its request, as far as CGI has words for it.

use std::env::var;
use std::io::{Write, copy, stdin, stdout};
use std::time::Duration;

use script::{Asked, Step};

/// Runs the script. Returns whether the request has one.
pub(crate) fn run() -> bool {
    let target = var("REQUEST_URI").unwrap_or_default();
    if !["/do?", "/table/"]
        .iter()
        .any(|start| target.starts_with(start))
    {
        return false;
    }
    let method = var("REQUEST_METHOD").unwrap_or_default();
    let known = [("content-type", "CONTENT_TYPE"), ("x-test", "HTTP_X_TEST")];
    let known = known.into_iter();
    let fields: Vec<(String, Vec<u8>)> = known
        .filter_map(|(name, variable)| Some((name.to_owned(), var(variable).ok()?.into_bytes())))
        .collect();
    let mut status = 200;
    let mut head = Vec::new();
    let mut output = stdout().lock();
    for step in script::steps(Asked {
        method: &method,
        target: &target,
        fields: &fields,
    }) {
        if step.is_run_anywhere() {
            continue;
        }
        let written = match step {
            Step::Status(given) => {
                status = given;
                Ok(())
            }
            Step::Field(name, value) => {
                head.write_all(&[name.as_bytes(), b": ", &value, b"\r\n"].concat())
            }
            Step::Head => {
                head.extend(format!("Status: {status}\r\n\r\n").into_bytes());
                output.write_all(&head)
            }
            Step::Say(text) => output.write_all(&text),
            Step::Write(length) => output.write_all(&vec![b'x'; length]),
            Step::Echo => copy(&mut stdin(), &mut output).map(drop),
            Step::Sleep(millis) => {
                let flushed = output.flush();
                std::thread::sleep(Duration::from_millis(millis));
                flushed
            }
            Step::Return => break,
            Step::Count
            | Step::Read
            | Step::Describe
            | Step::Trailer(..)
            | Step::Finish
            | Step::Forget
            | Step::Abort
            | Step::Refuse
            | Step::Leak(_)
            | Step::Bare
            | Step::Tasks(_)
            | Step::Spin
            | Step::Trap
            | Step::Memory
            | Step::Exit(_)
            | Step::Print(_) => Ok(()),
        };
        written.expect("standard output takes it");
    }
    output.flush().expect("standard output takes it");
    true
}
