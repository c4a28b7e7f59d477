//! Servers without wasm, which the bench measures beside the host. [`Yardstick`] hands connections
//! to threads, which answer by themselves, or have a process answer that they create by fork and
//! exec. [`http`] answers as the built-in worker does, on the host's own HTTP library.

mod cgi;
pub mod http;
mod listener;
mod task;
mod yardstick;

pub use cgi::{child, own_memory_kib};
pub use task::{CRASH_AFTER, Task, WAIT};
pub use yardstick::Yardstick;
