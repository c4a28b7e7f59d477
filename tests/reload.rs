//! A host is changed while it serves: modules, pools and routes, all of them or none, and no
//! request notices.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;

use crate::support::server::{component, configured, guest_over, module, outcome};
use crate::support::steer::{ask, json, told};
use crate::support::wat::worker;
use crate::support::{Client, Folder, Server, eventually, guests, meanwhile};
use crate::watch::answer;

const RELOADED: &str = "everything was loaded again";
pub(crate) const NOT_RELOADED: &str = "nothing was loaded again: all goes on as before";
const ROLLED_BACK: &str =
    "the new module has done nothing but fail for ten seconds: the one before serves again";

/// Enough that every phase of a reload meets requests of all clients.
const CLIENTS: usize = 64;
const RELOADS: usize = 100;

fn write(server: &Server, name: &str, text: &str) {
    fs::write(server.folder.path().join(name), text).expect("our own");
}

/// A folder with modules that answer `a`, `b`, …, each named by its letter.
fn letters(letters: &str) -> Folder {
    let folder = Folder::new();
    for letter in letters.chars() {
        let path = folder.path().join(format!("{letter}.wat"));
        fs::write(path, answer(letter)).expect("our own");
    }
    folder
}

#[test]
fn no_request_is_lost_over_reloads_good_and_bad() {
    let server = component(&answer('a'), Folder::new(), "--workers 2..8 --probe /");
    let answered = AtomicUsize::new(0);
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = server.client();
        while goes_on() {
            let reply = client.get("/");
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(["a", "b"].contains(&&*reply.text()), "{}", reply.text());
            answered.fetch_add(1, Ordering::Relaxed);
        }
    };
    meanwhile(CLIENTS, client, || {
        let traps = worker("(unreachable)");
        let refuses = worker("(i32.store16 (i32.const 1024) (i32.const 404))");
        let bad = [
            ("(component (what", "not valid WebAssembly"),
            (&*traps, "the probe / had no answer"),
            (&*refuses, "the probe / was answered with 404"),
        ];
        for reload in 0..RELOADS {
            let before = answered.load(Ordering::Relaxed);
            let (text, problem) = match reload % 4 {
                0 => (answer('b'), None),
                2 => (answer('a'), None),
                _ => {
                    let (text, problem) = bad[reload % bad.len()];
                    (text.to_owned(), Some(problem))
                }
            };
            write(&server, "component.wat", &text);
            let (code, said) = ask(server.folder.path(), "reload");
            match problem {
                None => assert_eq!(code, 0, "{said}"),
                Some(problem) => assert!(code == 1 && said.contains(problem), "{said}"),
            }
            eventually("requests are answered meanwhile", || {
                (answered.load(Ordering::Relaxed) > before + CLIENTS).then_some(())
            });
        }
    });
    let generation = json(&server, "status --json")["pools"][0]["generation"].as_u64();
    assert!(generation > Some(RELOADS as u64 / 2), "{generation:?}");
    eventually("the old processes end", || {
        (server.living().len() <= 8).then_some(())
    });
}

#[test]
fn a_module_that_only_fails_is_taken_back() {
    let server = component(&answer('a'), Folder::new(), "--workers 1");
    assert_eq!(server.get("/").text(), "a");
    write(&server, "component.wat", &worker("(unreachable)"));
    told(&server, "reload");
    assert_eq!(server.get("/").status, 502);
    let said = server.wait_entries(ROLLED_BACK, 1);
    assert_eq!(said[0]["failures"], 1);
    assert_eq!(server.get("/").text(), "a");
    assert_eq!(json(&server, "status --json")["pools"][0]["generation"], 1);
    // What serves again can be scaled, although its file has gone.
    fs::remove_file(server.folder.path().join("component.wat")).expect("our own");
    told(&server, "scale main 3");
    server.wait_living(3);
    assert_eq!(server.get("/").text(), "a");
}

#[test]
fn a_program_comes_back_too() {
    let folder = Folder::new();
    let path = folder.path().join("m.wasm");
    let copy = |name: &str| fs::copy(guests::path(name), &path).expect("our own");
    copy("prefork");
    let server = module(&path, folder, "");
    let served = || {
        eventually("it serves", || {
            (server.get("/trap").status == 404).then_some(())
        })
    };
    served();
    copy("misbehave");
    told(&server, "reload");
    assert_eq!(server.get("/trap").status, 502);
    server.wait_entries(ROLLED_BACK, 1);
    served();
    // It is kept alive as it was before.
    for _ in 0..3 {
        let list = json(&server, "ps --json");
        let mut list = list.as_array().expect("a list").iter();
        let root = list.find(|process| process["parent"].is_null());
        let root = root.expect("a root process")["pid"].clone();
        told(&server, &format!("kill {root}"));
        eventually("another root process", || {
            let list = json(&server, "ps --json");
            let mut list = list.as_array().expect("a list").iter();
            let root = list.find(|process| process["parent"].is_null() && process["pid"] != root);
            root.map(|_| ())
        });
        served();
    }
}

#[test]
fn a_program_outlives_what_could_not_take_its_place() {
    let config = |others: &str| {
        let prefork = guests::path("prefork");
        format!(
            "[[pool]]\nname = \"p\"\nmodule = {prefork:?}\nroot = \"site\"\nprobe = \"/up\"\n{others}"
        )
    };
    let folder = Folder::new();
    let site = folder.path().join("site");
    fs::create_dir(&site).expect("our own");
    for name in ["up", "a"] {
        fs::write(site.join(name), name).expect("our own");
    }
    let server = configured(&config(""), folder, "");
    assert_eq!(server.wait_served("/a").text(), "a");
    // Its probe fails; a pool behind it fails; and then nothing does.
    fs::remove_file(site.join("up")).expect("our own");
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("the probe /up was answered with 404"),
        "{said}"
    );
    assert_eq!(server.get("/a").text(), "a");
    fs::write(site.join("up"), "up").expect("our own");
    let bad = "[[pool]]\nname = \"z\"\nroutes = [\"/z\"]\nroot = \"site\"\nmodule = \"bad.wat\"\nprobe = \"/z\"\n";
    write(&server, "bad.wat", &worker("(unreachable)"));
    write(&server, "host.toml", &config(bad));
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("the probe /z had no answer"),
        "{said}"
    );
    assert_eq!(server.get("/a").text(), "a");
    write(&server, "host.toml", &config(""));
    told(&server, "reload");
    assert_eq!(server.wait_served("/a").text(), "a");
}

#[test]
fn limits_change_with_a_reload() {
    let config = |memory: &str, workers: u8| {
        format!(
            "max-memory-total = \"128MiB\"\nmemory = \"{memory}\"\nworkers = {workers}\nmodule = \"a.wat\"\n"
        )
    };
    let server = configured(&config("32MiB", 2), letters("a"), "");
    server.wait_living(2);
    // All of them fit only if each counts with its new memory.
    write(&server, "host.toml", &config("8MiB", 8));
    told(&server, "reload");
    server.wait_living(8);
    write(&server, "host.toml", &config("32MiB", 3));
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(
        code == 1 && said.contains("as much memory as they may"),
        "{said}"
    );
    assert_eq!(server.get("/").text(), "a");
}

#[test]
fn a_module_that_succeeds_once_stays() {
    let server = component(&answer('a'), Folder::new(), "--workers 1");
    let path = guests::path("misbehave");
    fs::copy(path, server.folder.path().join("component.wat")).expect("our own");
    told(&server, "reload");
    assert_eq!(server.get("/ok").status, 200);
    assert_eq!(server.get("/trap").status, 502);
    // Its trial is over once that of the next one, which began later, is.
    write(&server, "component.wat", &worker("(unreachable)"));
    told(&server, "reload");
    assert_eq!(server.get("/").status, 502);
    server.wait_entries(ROLLED_BACK, 1);
    assert_eq!(server.get("/ok").status, 200);
    assert_eq!(server.entries(ROLLED_BACK).len(), 1);
}

#[test]
fn a_host_does_not_start_with_a_module_that_fails_its_probe() {
    let folder = Folder::new();
    let path = folder.path().join("component.wat");
    fs::write(&path, worker("(unreachable)")).expect("our own");
    let mut command = crate::support::server::command(Some(&path), &folder.root(), "--probe /up");
    let (code, text) = outcome(&mut command);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("--probe: the probe /up had no answer"),
        "{text}"
    );
    let server = guest_over("prefork", Folder::new().file("up", "up"), "--probe /up");
    assert_eq!(server.wait_served("/up").text(), "up");
}

#[test]
fn a_hangup_has_everything_read_again() {
    let config = |letter: char, workers: u8| {
        format!("workers = {workers}\n[[pool]]\nname = \"a\"\nmodule = \"{letter}.wat\"\n")
    };
    let server = configured(&config('a', 1), letters("ab"), "");
    assert_eq!(server.get("/").text(), "a");
    write(&server, "host.toml", &config('b', 2));
    server.signal(Signal::HUP);
    server.wait_entries(RELOADED, 1);
    assert_eq!(server.get("/").text(), "b");
    server.wait_living(2);
    for (bad, reason) in [
        ("memroy = 1".to_owned(), "unknown key memroy"),
        (config('c', 2), "No such file"),
    ] {
        write(&server, "host.toml", &bad);
        let before = server.entries(NOT_RELOADED).len();
        server.signal(Signal::HUP);
        let said = server.wait_entries(NOT_RELOADED, before + 1);
        let said = said[before]["reason"].to_string();
        assert!(said.contains(reason), "{said}");
        assert_eq!(server.get("/").text(), "b");
    }
}

/// A pool for each letter, at its own path.
fn pools(letters: &str) -> String {
    let pools = letters.chars().map(|letter| {
        format!(
            "[[pool]]\nname = \"{letter}\"\nroutes = [\"/{letter}\"]\nmodule = \"{letter}.wat\"\nworkers = 1\n"
        )
    });
    pools.collect()
}

#[test]
fn pools_and_routes_change_all_together_or_not_at_all() {
    let server = configured(&pools("ab"), letters("abc"), "");
    let answers = |expected: [(&str, &str); 3]| {
        for (target, text) in expected {
            let reply = server.get(target);
            let text = match text {
                "" => (404, reply.text()),
                text => (200, text.to_owned()),
            };
            assert_eq!((reply.status, reply.text()), text, "{target}");
        }
    };
    answers([("/a", "a"), ("/b", "b"), ("/c", "")]);
    // One bad pool, and nothing changes: neither the pools beside it nor the routes.
    write(&server, "a.wat", &answer('x'));
    write(&server, "bad.wat", "(component (what");
    let bad = pools("ac") + "[[pool]]\nname = \"z\"\nroutes = [\"/z\"]\nmodule = \"bad.wat\"\n";
    write(&server, "host.toml", &bad);
    let (code, said) = ask(server.folder.path(), "reload");
    assert!(code == 1 && said.contains("bad.wat"), "{said}");
    assert!(said.contains("nothing has changed: "), "{said}");
    answers([("/a", "a"), ("/b", "b"), ("/c", "")]);
    // A single pool is only loaded anew: its routes are everybody's business.
    let moved = pools("ab").replace("\"/a\"", "\"/moved\"");
    write(&server, "host.toml", &moved);
    let (code, said) = ask(server.folder.path(), "reload a");
    assert!(code == 1 && said.contains("other routes"), "{said}");
    answers([("/a", "a"), ("/b", "b"), ("/moved", "")]);
    // A pool changes, another goes, a third comes.
    write(
        &server,
        "host.toml",
        &format!("max-connections = 7\n{}", pools("ac")),
    );
    let said = told(&server, "reload");
    assert!(said.contains("loaded again: a, c\n"), "{said}");
    assert!(
        said.contains("these need a new start: --max-connections\n"),
        "{said}"
    );
    let left = server.wait_entry(RELOADED, |entry| {
        entry["needs_a_new_start"] == "--max-connections"
    });
    assert_eq!(left["level"], "WARN");
    let refused = server.wait_entry("steered over the control socket", |entry| {
        entry["refused"].is_string()
    });
    assert_eq!(refused["level"], "WARN");
    answers([("/a", "x"), ("/b", ""), ("/c", "c")]);
    eventually("the pool that is gone has no process", || {
        let list = json(&server, "ps --json");
        let list = list.as_array().expect("a list");
        let pools: Vec<_> = list.iter().map(|process| process["pool"].clone()).collect();
        (pools == ["a", "c"]).then_some(())
    });
}

#[test]
fn a_pool_that_goes_finishes_its_requests() {
    let misbehave = guests::path("misbehave");
    let bad = format!("[[pool]]\nname = \"m\"\nroutes = [\"/slow\"]\nmodule = {misbehave:?}\n");
    let server = configured(&(pools("a") + &bad), letters("a"), "");
    let mut slow = server.send("/slow?ms=3000");
    eventually("it runs", || {
        let list = json(&server, "ps --json --sort running");
        list[0]["request"].is_number().then_some(())
    });
    write(&server, "host.toml", &pools("a"));
    told(&server, "reload");
    assert_eq!(server.get("/slow").status, 404);
    assert_eq!(slow.reply("GET").expect("a reply").status, 200);
}

#[test]
fn a_request_reaches_its_pool_although_that_has_gone() {
    let misbehave = guests::path("misbehave");
    let bad = format!("[[pool]]\nname = \"m\"\nroutes = [\"/echo\"]\nmodule = {misbehave:?}\n");
    let server = configured(&(pools("a") + &bad), letters("ab"), "");
    let mut client = server.client();
    let head = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab";
    client.send(head).expect("it is sent");
    eventually("the head is read", || (server.unread() == 0).then_some(()));
    for letters in ["ab", "a"] {
        write(&server, "host.toml", &pools(letters));
        told(&server, "reload");
    }
    assert_eq!(server.get("/echo").status, 404);
    client.send(b"cd").expect("it is sent");
    assert_eq!(client.reply("POST").expect("a reply").status, 200);
    server.wait_living(1);
}

#[test]
fn a_watched_pool_follows_its_module() {
    let config = |letter: char| format!("[[pool]]\nname = \"p\"\nmodule = \"{letter}.wat\"\n");
    let server = configured(&config('a'), letters("ab"), "--watch");
    write(&server, "host.toml", &config('b'));
    told(&server, "reload");
    assert_eq!(server.get("/").text(), "b");
    write(&server, "b.wat", &answer('c'));
    eventually("the new file is watched", || {
        (server.get("/").text() == "c").then_some(())
    });
}

/// The status of one request on a connection of its own.
fn status(server: &Server, target: &str) -> u16 {
    Client::connect(server.address()).get(target).status
}

#[test]
fn a_pool_is_drained_and_comes_back() {
    let server =
        crate::support::server::guest("misbehave", "--workers 2 --admin 0 --request-timeout 1000s");
    let mut slow = server.send("/slow?ms=3000");
    eventually("it runs", || {
        let list = json(&server, "ps --json --sort running");
        list[0]["request"].is_number().then_some(())
    });
    let draining = crate::support::steer::asking(server.folder.path(), "drain main").spawn();
    let mut draining = draining.expect("the program runs");
    let ready = || Client::connect(crate::admin::admin(&server)).get("/readyz");
    eventually("it drains", || (ready().status == 503).then_some(()));
    assert_eq!(ready().text(), "draining main\n");
    let refused = server.get("/ok");
    assert_eq!(
        (refused.status, refused.field("retry-after")),
        (503, Some("1"))
    );
    assert!(refused.text().contains("takes no requests at present"));
    // Who came before is served, and only then the command returns.
    assert_eq!(slow.reply("GET").expect("a reply").status, 200);
    assert!(draining.wait().expect("our own").success());
    server.wait_living(0);
    let table = told(&server, "status");
    assert!(
        table.contains("draining") && table.contains("not ready"),
        "{table}"
    );
    told(&server, "reload");
    assert_eq!((status(&server, "/ok"), ready().status), (200, 200));
    // One that is loaded again in the meantime is not drained, and says so.
    let spinning = server.send("/spin");
    eventually("it runs", || {
        let list = json(&server, "ps --json --sort running");
        list[0]["request"].is_number().then_some(())
    });
    let mut draining = crate::support::steer::asking(server.folder.path(), "drain main");
    let mut draining = draining.spawn().expect("the program runs");
    eventually("it drains", || (ready().status == 503).then_some(()));
    told(&server, "reload");
    assert_eq!(draining.wait().expect("our own").code(), Some(1));
    assert_eq!(status(&server, "/ok"), 200);
    spinning.reset();
    assert_eq!(
        told(&server, "drain"),
        "no pool takes requests, and none is left\n"
    );
    assert_eq!(status(&server, "/ok"), 503);
    told(&server, "scale main 1");
    assert_eq!(status(&server, "/ok"), 200);
}
