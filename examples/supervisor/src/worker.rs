//! A worker: a counter with a name, which crashes when it is told to.

use wasm_pool_guest::mailbox::{self, Incoming};
use wasm_pool_guest::process;
use wasm_pool_guest::talk::{self, Answer};

/// What a worker can be asked for, as the bytes of a call.
pub(crate) const COUNT: &[u8] = b"count";
pub(crate) const CRASH: &[u8] = b"crash";

pub(crate) fn run(name: &str) {
    if let Err(error) = process::register(name) {
        eprintln!("{name}: can't take its name: {}", error.name());
        talk::exit(1);
    }
    let mut count: u64 = 0; // in this process's memory: it ends with it
    talk::serve(|asked| {
        let Incoming::Call(call) = &asked.content else {
            return None;
        };
        match call.bytes.as_slice() {
            COUNT => {
                count += 1;
                println!("{name}, process {}: {count}", mailbox::self_());
                Answer::reply(&asked, count.to_le_bytes())
            }
            CRASH => std::process::abort(), // a trap, as any bug would be
            _ => None,
        }
    })
}
