//! The yardstick: two processes of the operating system, with a pipe in each direction. This is the
//! cost of isolation by the kernel when only bytes are sent.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context;

use crate::numbers::median;

/// The first argument that makes this program send back everything it receives. The second argument
/// is the size of a message.
pub(crate) const BE_ECHO: &str = "--be-echo";

/// The number of operations in a batch, as in `examples/pingpong`.
const BATCHES: usize = 51;
const ROUND_TRIPS: usize = 1000;

/// Microseconds of a round trip of this many bytes: the median of several batches. A first batch
/// doesn't count.
pub(crate) fn round_trip(bytes: usize) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(BE_ECHO).arg(bytes.to_string());
    let mut echo = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut there = echo.stdin.take().context("it has no input")?;
    let mut back = echo.stdout.take().context("it has no output")?;

    let mut ball = vec![0; bytes];
    let mut batch = || -> io::Result<f64> {
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            there.write_all(&ball)?;
            back.read_exact(&mut ball)?;
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / ROUND_TRIPS as f64)
    };
    batch()?;
    let times = (0..BATCHES).map(|_| batch()).collect::<io::Result<_>>()?;
    drop(there); // this tells the other process of the end
    echo.wait()?;
    Ok(median(times))
}

/// The other process.
pub(crate) fn echo(bytes: &str) -> anyhow::Result<()> {
    // Bypasses the standard library's buffers, which would copy every byte once more.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut ball = vec![0; bytes.parse()?];
    loop {
        match input.read_exact(&mut ball) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        output.write_all(&ball)?;
    }
}
