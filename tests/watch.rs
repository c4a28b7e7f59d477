//! `--watch`: a module that changes takes the place of the one that serves, and no request notices
//! but by its answer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::server::component;
use crate::support::wat::worker;
use crate::support::{Folder, Server, eventually, guests};

/// Enough that every phase of a swap meets requests.
const SWAPS: usize = 20;
const CLIENTS: usize = 4;

/// Requests of a client during one swap: they take about as long.
const REQUESTS: usize = 50;

/// The log's words for a module that is used, and for one that can't be.
const USED: &str = "the module has changed, and is used";
const UNUSED: &str = "the module has changed, and can't be used: the one before goes on serving";

#[test]
fn no_request_fails_while_modules_are_swapped() {
    for flags in [
        "--workers 2",
        "--mode per-request --workers 2..8",
        "--mode single",
    ] {
        let server = watched(&answer('a'), flags);
        for swap in 1..=SWAPS {
            let letter = if swap % 2 == 0 { 'a' } else { 'b' };
            std::thread::scope(|scope| {
                for _ in 0..CLIENTS {
                    scope.spawn(|| {
                        let mut client = server.client();
                        for _ in 0..REQUESTS {
                            let reply = client.get("/");
                            assert_eq!(reply.status, 200, "{flags}: {}", reply.text());
                            assert!(["a", "b"].contains(&&*reply.text()), "{}", reply.text());
                        }
                    });
                }
                change(&module(&server), &answer(letter));
                server.wait_entries(USED, swap);
                // From now on nobody is answered by the module before.
                assert_eq!(server.get("/").text(), letter.to_string(), "{flags}");
            });
        }
        let most = if flags.contains("single") { 1 } else { 2 };
        eventually("the old processes end", || {
            (server.living().len() <= most).then_some(())
        });
    }
}

#[test]
fn a_module_that_can_t_be_used_leaves_the_old_one() {
    let server = watched(&answer('a'), "--workers 1");
    let huge = worker("").replace(
        "(core instance $main ",
        "(core module $huge (memory 2000)) (core instance (instantiate $huge)) (core instance $main ",
    );
    let cases = [
        "(component (what",
        "",
        "(component)",
        // It would need more memory than there is.
        &huge,
    ];
    for (number, broken) in cases.iter().enumerate() {
        change(&module(&server), broken);
        let said = server.wait_entries(UNUSED, number + 1);
        assert_eq!(said.len(), number + 1, "each is said once");
        assert_eq!(server.get("/").text(), "a", "{broken}");
    }
    let last = &server.entries(UNUSED)[cases.len() - 1];
    assert!(last["reason"].to_string().contains("--memory"), "{last}");
    change(&module(&server), &answer('b'));
    server.wait_entries(USED, 1);
    assert_eq!(server.get("/").text(), "b");
    assert_eq!(server.entries(UNUSED).len(), cases.len());
}

#[test]
fn a_request_that_has_begun_to_arrive_is_answered() {
    let server = watched(&answer('a'), "--workers 1");
    // The head of a request is sent before the swap, and its body after it.
    let mut client = server.client();
    client
        .send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n")
        .expect("the head is sent");
    change(&module(&server), &answer('b'));
    server.wait_entries(USED, 1);
    client.send(b"x").expect("the body is sent");
    let reply = client.reply("POST").expect("a reply");
    assert_eq!(reply.status, 200);
}

#[test]
fn the_kind_of_the_module_may_change() {
    let server = watched(&answer('a'), "");
    let path = module(&server);
    for (swap, (guest, status)) in [("prefork", 200), ("hello", 200), ("prefork", 200)]
        .into_iter()
        .enumerate()
    {
        let new = path.with_extension("new");
        fs::copy(guests::path(guest), &new).expect("a copy");
        fs::rename(new, &path).expect("our own");
        server.wait_entries(USED, swap + 1);
        eventually(guest, || (server.get("/").status == status).then_some(()));
    }
    change(&path, &answer('b'));
    server.wait_entries(USED, 4);
    assert_eq!(server.get("/").text(), "b");
}

fn watched(text: &str, flags: &str) -> Server {
    component(
        text,
        Folder::new().file("index.html", "home"),
        &format!("--watch {flags}"),
    )
}

fn module(server: &Server) -> PathBuf {
    server.folder.path().join("component.wat")
}

/// Replaces the file in one step, as compilers and editors do.
fn change(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(new, path).expect("our own");
}

/// A worker that answers with this letter.
pub(crate) fn answer(letter: char) -> String {
    worker(&format!(
        "(i32.store8 (i32.const 2100) (i32.const {}))
         (i32.store (i32.const 1048) (i32.const 2100))
         (i32.store (i32.const 1052) (i32.const 1))",
        u32::from(letter)
    ))
}
