//! Slow requests are logged while they run, with what the guest is doing.

use crate::support::Client;
use crate::support::server::guest;

const SLOW: &str = "slow request";

#[test]
fn a_slow_request_is_logged_while_it_runs() {
    for (target, doing) in [
        ("/spin", "misbehave::"),
        ("/slow?ms=100000", "it waits for the host"),
    ] {
        let server = guest(
            "misbehave",
            "--workers 2 --slow 50ms --request-timeout 1000s",
        );
        for _ in 0..20 {
            assert_eq!(server.get("/ok").status, 200);
        }
        let running = server.send(target);
        let said = server.wait_entries(SLOW, 1);
        let path = target.split('?').next().expect("a path");
        assert_eq!(said[0]["asked"], format!("GET {path}"));
        assert_eq!(said[0]["id"], 21);
        assert!(said[0]["running_ms"].as_u64() >= Some(50), "{said:?}");
        let backtrace = said[0]["backtrace"].as_str().expect("a backtrace");
        assert!(backtrace.contains(doing), "{backtrace}");
        // The same process is slow a second time, and said to be slow once each time.
        let another = server.send(target);
        let said = server.wait_entries(SLOW, 2);
        assert_eq!(said[1]["id"], 22);
        [running, another].into_iter().for_each(Client::reset);
        server.wait_entries("request", 22);
        assert_eq!(server.entries(SLOW).len(), 2);
    }
}

#[test]
fn a_slow_guest_of_another_kind_is_logged_too() {
    let server = guest("http03", "--workers 1 --slow 50ms --request-timeout 1000s");
    let running = server.send("/do?sleep=100000");
    let said = server.wait_entries(SLOW, 1);
    assert_eq!(said[0]["asked"], "GET /do");
    running.reset();
}
