//! Several pools in one host: which requests each gets, and what one can do to another.

use crate::support::server::{Server, command, configured, outcome};
use crate::support::steer::wait_running;
use crate::support::{Client, Folder, guests};

/// A guest of the examples, as a value in a configuration.
fn example(name: &str) -> String {
    format!("{:?}", guests::path(name))
}

#[test]
fn the_most_specific_route_gets_the_request() {
    let config = format!(
        r#"
        [[pool]]
        name = "site"
        root = "root"

        [[pool]]
        name = "hello"
        routes = ["/hello/*", "hello.example/*"]
        module = {hello}

        [[pool]]
        name = "bare"
        routes = ["/hello/bare/*", "*.example/x"]
        strip-prefix = true
        module = {hello}
        "#,
        hello = example("hello"),
    );
    let folder = Folder::new()
        .file("index.html", "home")
        .file("hellos", "file");
    let server = configured(&config, folder, "");
    for (host, target, text) in [
        ("x", "/", "home"),
        ("x", "/hellos", "file"),
        ("x", "/hello", "hello, you asked for /hello\n"),
        ("x", "/hello/a?b", "hello, you asked for /hello/a\n"),
        ("x", "/hello/bare", "hello, you asked for /\n"),
        ("x", "/hello/bare/a", "hello, you asked for /a\n"),
        (
            "x",
            "/hello/barefoot",
            "hello, you asked for /hello/barefoot\n",
        ),
        ("hello.example:80", "/", "hello, you asked for /\n"),
        (
            "HELLO.example",
            "/hello/bare",
            "hello, you asked for /hello/bare\n",
        ),
        ("a.example", "/x", "hello, you asked for /x\n"),
        ("a.example", "/y", "404"),
    ] {
        let mut client = server.client();
        let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        client.send(head.as_bytes()).expect("it is sent");
        let reply = client.reply("GET").expect("a reply");
        let got = match reply.status {
            200 => reply.text(),
            status => status.to_string(),
        };
        assert_eq!(got, text, "{host}{target}");
    }
    let pools = server.entries("request");
    let pools: Vec<_> = pools.iter().map(|entry| entry["pool"].clone()).collect();
    assert_eq!(pools[..3], ["site", "site", "hello"]);
    server.wait_entry("process started", |entry| entry["pool"] == "bare");
}

#[test]
fn what_no_pool_has_a_route_for_is_not_found() {
    let config = format!(
        "[[pool]]\nname = \"only\"\nroutes = [\"/only\"]\nmodule = {}",
        example("hello")
    );
    let server = configured(&config, Folder::new(), "");
    assert_eq!(server.get("/only").status, 200);
    let mut client = server.client();
    for target in ["/", "/only/", "/onlyx"] {
        // The connection goes on, and so does what stands behind a body that nobody reads.
        let reply = client.request("POST", target, &[], b"body");
        assert_eq!(reply.status, 404, "{target}");
        assert!(
            reply.text().contains("nothing here answers"),
            "{}",
            reply.text()
        );
    }
    assert_eq!(client.get("/only").status, 200);
}

#[test]
fn a_pool_that_fails_touches_no_other() {
    let config = format!(
        r#"
        [[pool]]
        name = "bad"
        routes = ["/bad/*"]
        strip-prefix = true
        module = {misbehave}
        workers = 1
        queue = 1
        queue-timeout = "100ms"

        [[pool]]
        name = "good"
        module = {hello}
        workers = 1
        "#,
        misbehave = example("misbehave"),
        hello = example("hello"),
    );
    let server = configured(&config, Folder::new(), "");
    let good = |server: &Server| assert_eq!(server.get("/").status, 200);
    for _ in 0..20 {
        assert_eq!(server.get("/bad/trap").status, 502);
        good(&server);
    }
    // Its only process runs for ever, and its line is full.
    let spinning = server.send("/bad/spin");
    let refused = |server: &Server| server.get("/bad/ok").status == 503;
    crate::support::eventually("the pool is busy", || refused(&server).then_some(()));
    for _ in 0..20 {
        good(&server);
    }
    assert!(
        refused(&server),
        "the other pool's requests wait in no common line"
    );
    spinning.reset();
    let ends = server.wait_entries("process ended", 20);
    assert!(ends.iter().all(|end| end["pool"] == "bad"), "{ends:?}");
}

#[test]
fn all_processes_together_have_their_memory() {
    let config = format!(
        r#"
        memory = "16MiB"
        max-memory-total = "48MiB"
        idle-timeout = "100ms"
        request-timeout = "1000s"

        [[pool]]
        name = "greedy"
        routes = ["/greedy/*"]
        strip-prefix = true
        module = {misbehave}
        workers = "1..8"

        [[pool]]
        name = "modest"
        module = {hello}
        workers = "1..8"
        "#,
        misbehave = example("misbehave"),
        hello = example("hello"),
    );
    let server = configured(&config, Folder::new(), "");
    // One process each, and one more: the third has the last of the memory.
    let spinning: Vec<_> = (0..2).map(|_| server.send("/greedy/spin")).collect();
    // Requests on different connections may overtake each other: the next one comes behind both.
    wait_running(&server, 2);
    let refused = crate::support::eventually("no process is left to be started", || {
        Some(server.get("/greedy/ok")).filter(|reply| reply.status == 503)
    });
    assert!(
        refused.text().contains("have as much memory as they may"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.field("retry-after"), Some("1"));
    assert_eq!(
        server.get("/").status,
        200,
        "the other pool has its own process"
    );
    spinning.into_iter().for_each(Client::reset);
    server.wait_served("/greedy/ok");
}

#[test]
fn processes_that_are_kept_alive_must_fit_their_memory() {
    let config = format!(
        r#"
        max-memory-total = "100MiB"

        [[pool]]
        name = "a"
        routes = ["/a/*"]
        module = {hello}
        workers = 1

        [[pool]]
        name = "b"
        module = {hello}
        workers = 1
        "#,
        hello = example("hello"),
    );
    let folder = Folder::new();
    let file = folder.path().join("host.toml");
    std::fs::write(&file, config).expect("a configuration");
    let file = file.to_str().expect("a plain name");
    let mut command = command(None, &folder.root(), &format!("--config {file}"));
    let (code, text) = outcome(&mut command);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("--max-memory-total 100MiB") && text.contains("128.0 MiB"),
        "{text}"
    );
}
