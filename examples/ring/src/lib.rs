//! placeholder
use wasm_pool_guest::{mailbox, process, program, talk};
program!(ring);
fn ring() {
    let child = process::spawn(&["a".into()]);
    let _ = talk::send(mailbox::self_(), 1, b"x");
    let m = mailbox::receive();
    println!("{child:?} {m:?}");
}
