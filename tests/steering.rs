//! A running host is seen and steered by the same program, over a socket that only its user can
//! reach.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::server::{PROGRAM, command, component, guest, guest_over, outcome};
use crate::support::steer::{ask, json, socket, told};
use crate::support::{Folder, eventually, untested};
use crate::watch::answer;

#[test]
fn ps_lists_what_lives() {
    let server = guest("misbehave", "--workers 2");
    let living = server.wait_living(2);
    let idle = json(&server, "ps --json");
    let pids = |list: &Value| -> Vec<u64> {
        let list = list.as_array().expect("a list");
        list.iter()
            .filter_map(|process| process["pid"].as_u64())
            .collect()
    };
    assert_eq!(pids(&idle), living.iter().copied().collect::<Vec<_>>());
    assert!(idle.as_array().expect("a list").iter().all(|process| {
        process["state"] == "idle" && process["pool"] == "main" && process["request"].is_null()
    }));
    let spinning = server.send("/spin");
    let running = eventually("a request runs", || {
        let list = json(&server, "ps --json --sort running");
        let first = list[0].clone();
        (first["request"] == 1 && first["cpu_ms"].as_u64() > Some(0)).then_some(first)
    });
    assert_eq!(running["requests"], 0);
    assert!(running["memory"].as_u64() > Some(65_536), "{running}");
    let table = told(&server, "ps");
    assert!(table.starts_with("PID  POOL  STATE"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    spinning.reset();
}

#[test]
fn ps_shows_a_program_as_a_tree() {
    let folder = Folder::new().file("index.html", "home");
    let server = guest_over("prefork", folder, "");
    assert_eq!(server.wait_served("/").status, 200);
    let tree = told(&server, "ps --tree");
    let rows: Vec<&str> = tree.lines().skip(1).collect();
    assert!(
        !rows[0].starts_with(' ') && rows[1].starts_with("  "),
        "{tree}"
    );
    let list = json(&server, "ps --json");
    assert_eq!(list[1]["parent"], list[0]["pid"]);
    assert_eq!(list[1]["messages"], 0);
}

#[test]
fn a_process_is_killed_and_touches_no_other() {
    let server = guest("misbehave", "--workers 2");
    let first = *server.wait_living(2).first().expect("two");
    assert_eq!(
        told(&server, &format!("kill {first}")),
        format!("killed: {first}\n")
    );
    assert_eq!(server.wait_end(first)["exit"], "killed");
    server.wait_living(2);
    assert_eq!(
        told(&server, "kill --running-over 1s"),
        "no process was killed\n"
    );
    let mut spinning = server.send("/spin");
    let killed = eventually("the request has run for a moment", || {
        let text = told(&server, "kill --running-over 50ms");
        text.strip_prefix("killed: ")
            .map(|pid| pid.trim().to_owned())
    });
    assert_eq!(spinning.reply("GET").expect("a reply").status, 502);
    assert_eq!(
        server.wait_end(killed.parse().expect("one pid"))["exit"],
        "killed"
    );
    assert_eq!(server.get("/ok").status, 200);
    // A trap says where the guest was.
    let mut spinning = server.send("/spin");
    let pid = eventually("it runs", || {
        let list = json(&server, "ps --json --sort cpu");
        let running = list[0]["request"].is_number() && list[0]["cpu_ms"].as_u64() > Some(0);
        running.then(|| list[0]["pid"].as_u64())?
    });
    told(&server, &format!("kill {pid} --trap"));
    assert_eq!(spinning.reply("GET").expect("a reply").status, 502);
    let end = server.wait_end(pid);
    assert_eq!(end["exit"], "trap");
    assert!(
        end["reason"].to_string().contains("backtrace: misbehave::"),
        "{end}"
    );
    let idle = json(&server, "ps --json")[0]["pid"].clone();
    told(&server, &format!("kill {idle} --trap"));
    assert_eq!(
        server.wait_end(idle.as_u64().expect("a pid"))["exit"],
        "killed"
    );
    let (code, text) = ask(server.folder.path(), "kill 999999");
    assert_eq!(code, 1);
    assert!(text.contains("there is no process 999999"), "{text}");
}

#[test]
fn a_pool_is_scaled() {
    let server = guest("hello", "--workers 1");
    server.wait_living(1);
    let said = told(&server, "scale main 3..4");
    assert_eq!(said, "pool main has 3 to 4 processes from now on\n");
    server.wait_living(3);
    let status = json(&server, "status --json");
    assert_eq!(
        (&status["pools"][0]["min"], &status["pools"][0]["max"]),
        (&3.into(), &4.into())
    );
    told(&server, "scale main 1");
    server.wait_living(1);
    for (arguments, problem) in [
        ("scale other 2", "there is no pool \"other\"; there is main"),
        ("scale main 20000", "open files"),
        ("scale main 3..2", "MIN 3 is more than MAX 2"),
    ] {
        let (code, text) = ask(server.folder.path(), arguments);
        assert_ne!(code, 0, "{arguments}");
        assert!(text.contains(problem), "{arguments}: {text}");
    }
    assert_eq!(server.get("/").status, 200);
}

#[test]
fn modules_are_loaded_again() {
    let server = component(&answer('a'), Folder::new(), "--workers 1");
    let module = server.folder.path().join("component.wat");
    fs::write(&module, answer('b')).expect("our own");
    assert_eq!(told(&server, "reload"), "loaded again: main\n");
    assert_eq!(server.get("/").text(), "b");
    assert_eq!(json(&server, "status --json")["pools"][0]["generation"], 2);
    fs::write(&module, "(component (what").expect("our own");
    let (code, said) = ask(server.folder.path(), "reload main");
    assert_eq!(code, 1);
    assert!(said.contains("nothing has changed: "), "{said}");
    assert_eq!(server.get("/").text(), "b");
}

#[test]
fn the_log_s_file_is_opened_anew() {
    let folder = Folder::new();
    let (log, old) = (folder.path().join("log"), folder.path().join("log.1"));
    fs::write(&log, "before\n").expect("our own");
    let flags = format!("--workers 1 --log-level info --log-file {}", log.display());
    let server = guest_over("hello", folder, &flags);
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let has = |path: &Path, text: &str| {
        eventually(text, || lines(path).contains(text).then_some(()));
    };
    assert_eq!(server.get("/one").status, 200);
    has(&log, "/one");
    assert!(lines(&log).starts_with("before\n{"), "{}", lines(&log));
    fs::rename(&log, &old).expect("our own");
    assert_eq!(server.get("/two").status, 200);
    has(&old, "/two");
    server.signal(Signal::USR1);
    eventually("a new file", || log.exists().then_some(()));
    assert_eq!(server.get("/three").status, 200);
    has(&log, "/three");
    assert!(!lines(&old).contains("/three"));
    // A file that can't be opened leaves the log where it is.
    let mut command = command(None, &server.folder.root(), "--log-file /nowhere/log");
    let (code, text) = outcome(&mut command);
    assert_eq!(code, 1);
    assert!(
        text.contains("--log-file /nowhere/log: No such file or directory"),
        "{text}"
    );
}

#[test]
fn the_log_s_level_changes() {
    let server = guest("hello", "--log-level info");
    assert_eq!(server.get("/").status, 200);
    server.wait_entries("request", 1);
    told(&server, "log-level error");
    assert_eq!(server.get("/").status, 200);
    told(&server, "log-level info");
    assert_eq!(server.get("/").status, 200);
    let lines = server.wait_entries("request", 2);
    let ids: Vec<_> = lines.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, [1, 3]);
}

#[test]
fn a_host_is_stopped() {
    let mut server = guest("misbehave", "--workers 1");
    let mut spinning = server.send("/spin");
    eventually("a request runs", || {
        json(&server, "ps --json")[0]["request"]
            .is_number()
            .then_some(())
    });
    assert!(socket(&server).exists());
    assert_eq!(
        told(&server, "stop --grace 100ms"),
        "the host is stopping\n"
    );
    assert_eq!(spinning.reply("GET").expect("a reply").status, 503);
    assert_eq!(server.wait_exit().code(), Some(0));
    assert!(!socket(&server).exists(), "nothing is left");
}

#[test]
fn the_host_is_found() {
    let folder = Folder::new();
    let (code, text) = ask(folder.path(), "ps");
    assert_eq!(code, 1);
    assert!(text.contains("no host of this user is running"), "{text}");
    let server = guest("hello", "");
    let sockets = server.folder.path().join("wasm-pool-host");
    // A host that was ended by force has left its socket, which counts for nothing.
    drop(UnixListener::bind(sockets.join("1.sock")).expect("a stale socket"));
    assert!(told(&server, "status").contains("wasm-pool-host"));
    // Two hosts of one user.
    let other = UnixListener::bind(sockets.join("2.sock")).expect("another socket");
    let (code, text) = ask(server.folder.path(), "status");
    assert_eq!(code, 1);
    let both = format!("give --host with one of 2, {}", server.pid());
    let either = format!("give --host with one of {}, 2", server.pid());
    assert!(text.contains(&both) || text.contains(&either), "{text}");
    told(&server, &format!("status --host {}", server.pid()));
    told(
        &server,
        &format!("status --host {}", socket(&server).display()),
    );
    let (code, text) = ask(server.folder.path(), "status --host 3");
    assert_eq!(code, 1);
    assert!(text.contains("3.sock: no host answers there"), "{text}");
    drop(other);
}

#[test]
fn the_socket_is_its_user_s_alone() {
    let server = guest("hello", "");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    let socket = socket(&server);
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("its folder")), 0o700);
    // A folder that others may use is not used, and the host serves without a socket.
    let folder = Folder::new().file("index.html", "home");
    let shared = folder.path().join("wasm-pool-host");
    fs::create_dir(&shared).expect("a folder");
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).expect("its mode");
    let server = crate::support::server::serve(folder, "");
    assert_eq!(server.get("/").status, 200);
    let said = server.wait_entries(
        "there is no control socket: `ps`, `kill` and others can't reach this host",
        1,
    );
    assert!(
        said[0]["reason"]
            .to_string()
            .contains("others may use this folder"),
        "{said:?}"
    );
}

#[test]
fn the_socket_is_where_it_is_wanted() {
    let folder = Folder::new();
    let path = folder.path().join("c.sock");
    let named = path.to_str().expect("a plain name").to_owned();
    let server = guest("hello", &format!("--control {named}"));
    told(&server, &format!("status --host {named}"));
    assert!(!socket(&server).exists());
    // A second host there is refused, and so is a file.
    for (place, problem) in [
        (named.clone(), "another host listens there"),
        (
            folder.path().to_str().expect("a plain name").to_owned(),
            "something else is there",
        ),
    ] {
        let mut command = command(None, &folder.root(), &format!("--control {place}"));
        let (code, text) = outcome(&mut command);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains(problem), "{text}");
    }
    drop(server);
    let server = guest("hello", &format!("--control {named}"));
    told(&server, &format!("status --host {named}"));
    let server_without = guest("hello", "--control off");
    assert!(!socket(&server_without).exists());
}

#[test]
fn bad_clients_of_the_socket_cost_nobody_anything() {
    let server = guest("hello", "--workers 1");
    let path = socket(&server);
    for garbage in [
        "\0\0\0",
        "GET",
        "GET / HTTP/9\r\n\r\n",
        "PUT /log-level HTTP/1.1\r\ncontent-length: 5\r\n\r\n{{{{{",
    ] {
        let mut client = UnixStream::connect(&path).expect("a connection");
        client.write_all(garbage.as_bytes()).expect("it is sent");
        client.shutdown(std::net::Shutdown::Write).expect("our own");
        let mut answer = String::new();
        let _reset = client.read_to_string(&mut answer);
        assert!(!answer.contains("200 OK"), "{garbage:?}: {answer}");
    }
    // As many as may connect, all of them silent: the host serves meanwhile, and they time out.
    let silent: Vec<_> = (0..1000)
        .map_while(|_| {
            let client = UnixStream::connect(&path).ok()?;
            client.set_nonblocking(true).ok()?;
            Some(client)
        })
        .take(100)
        .collect();
    assert_eq!(server.get("/").status, 200);
    drop(silent);
    told(&server, "status");
}

/// A stream of what happens, as the socket gives it to whoever asks.
fn listen(path: &Path) -> (UnixStream, String) {
    let mut client = UnixStream::connect(path).expect("a connection");
    let head = b"GET /events HTTP/1.1\r\nhost: host\r\n\r\n";
    client.write_all(head).expect("it is sent");
    let mut line = String::new();
    BufReader::new(&client)
        .read_line(&mut line)
        .expect("a status line");
    (client, line)
}

#[test]
fn those_who_listen_are_bounded_and_leave_nothing_behind() {
    let server = guest("hello", "--workers 1");
    let path = socket(&server);
    for _ in 0..3 {
        let mut listening: Vec<UnixStream> = Vec::new();
        let refused = eventually("no more may listen", || {
            let (client, line) = listen(&path);
            if line.starts_with("HTTP/1.1 200") {
                listening.push(client);
                return None;
            }
            Some(line)
        });
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert_eq!(listening.len(), 16);
        // There is room for everything else, and nobody who is served notices.
        told(&server, "status");
        assert_eq!(server.get("/").status, 200);
        // All of them leave in mid-stream.
        drop(listening);
        eventually("there is room again", || {
            let (_, line) = listen(&path);
            line.starts_with("HTTP/1.1 200").then_some(())
        });
    }
}

#[test]
fn another_user_can_t_steer() {
    if !rustix::process::geteuid().is_root() {
        untested("only root can be two users");
        return;
    }
    let server = guest("hello", "");
    let path = socket(&server);
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.args([PROGRAM, "status", "--host"]).arg(&path);
        outcome(&mut command)
    };
    let (code, text) = as_nobody();
    assert!(code != 0 && text.contains("Permission denied"), "{text}");
    // Even if the way there is open to everybody, the host looks who comes.
    let mut way = path.clone();
    while way != server.folder.path() {
        fs::set_permissions(&way, Permissions::from_mode(0o777)).expect("our own");
        way.pop();
    }
    fs::set_permissions(&way, Permissions::from_mode(0o755)).expect("our own");
    let (code, text) = as_nobody();
    assert!(code != 0 && !text.contains("answered"), "{text}");
    server.wait_entries("another user's client was refused at the control socket", 1);
    told(&server, "status");
}
