//! A pseudo-terminal with a program in it, as somebody at the keyboard has it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::eventually;

/// A program in a pseudo-terminal, which `script` of util-linux provides.
pub(crate) struct Screen {
    script: Child,
    /// Where keys are typed. `script` types an end of file when this is dropped.
    keys: Option<ChildStdin>,
    /// All that has been written to the terminal.
    written: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Screen {
    pub(crate) fn open(command: &str, folder: &Path) -> Self {
        let mut script = Command::new("script")
            // quiet; the exit code is the command's; the record goes nowhere
            .args(["-qec", command, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env("XDG_RUNTIME_DIR", folder)
            .env("TMPDIR", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux has `script`");
        let mut output = script.stdout.take().expect("standard output is piped");
        let written = Arc::new(Mutex::new(Vec::new()));
        let reader = {
            let written = written.clone();
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(count @ 1..) = output.read(&mut bytes) {
                    let mut written = written.lock().expect("no panic");
                    written.extend_from_slice(&bytes[..count]);
                }
            })
        };
        Self {
            keys: script.stdin.take(),
            script,
            written,
            reader: Some(reader),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().expect("no panic")).into_owned()
    }

    /// Waits for a word. The screen has no others: what stands between words is skipped by
    /// moving the cursor, and later frames write only the letters that are new.
    pub(crate) fn wait(&self, word: &str) {
        eventually(word, || self.text().contains(word).then_some(()));
    }

    pub(crate) fn press(&mut self, keys: &str) {
        let input = self.keys.as_mut().expect("keys are pressed before the end");
        input
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Waits for the program's end: its exit code, and all that it has written.
    pub(crate) fn ended(mut self) -> (i32, String) {
        let status = eventually("the program in the terminal ends", || {
            self.script.try_wait().expect("a child's status")
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the terminal was read");
        }
        (status.code().unwrap_or(-1), self.text())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Both calls fail if it has ended. If it has not, the program in it gets SIGHUP.
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// The alternate screen is left, and the cursor is seen.
pub(crate) const RESTORED: &str = "\x1b[?1049l\x1b[?25h";
