//! Processes and their ends: the rights to start and kill, the messages about ends, and the
//! resources that become free. Each line is a script for `support/actor`, with the outcome of its
//! last statement.

use crate::support::eventually;
use crate::support::program::{perform, run};
use crate::support::scripts::outcome;
use crate::support::server::guest;

#[test]
fn children_are_told_what_they_are() {
    perform(
        "",
        "whose                                                          -> nobody's
         spawn a { whose; tell; receive }; receive                      -> a: parent's
         spawn b { spawn c { whose; tell }; receive; tell; receive }    -> ok
         receive-from b                                                 -> b: c: parent's
         register root; spawn d { find root root; same root parent; tell }; receive-from d  -> d: yes",
    );
}

#[test]
fn every_end_is_told() {
    #[rustfmt::skip] // one line per case
    let cases = [
        ("", "normal"),
        ("exit 0", "normal"),
        ("exit 1", "code 1"),
        ("exit 255", "code 255"),
        ("exit 4294967295", "code 4294967295"),
        ("trap", "trap"),
        ("panic", "trap"),
        ("abort", "trap"),
        ("stack", "trap"),
        ("oom", "memory"),
        ("receive; exit 3", "code 3"),
        ("receive; trap", "trap"),
    ];
    let plays = cases.map(|(end, exit)| {
        format!(
            "spawn a {{ receive-from parent; {end} }}; monitor a; send a 1 x; send a 2 y; receive -> a is down: {exit}"
        )
    });
    perform("--memory 16MiB --log-level off", &plays.join("\n"));
}

#[test]
fn ends_are_told_once_to_each_who_asked() {
    perform(
        "",
        "spawn a { receive; exit 3 }                                    -> ok
         spawn b { monitor a; tell; receive; tell; receive }; receive   -> b: ok
         repeat 9 { monitor a }                                         -> 9 ok
         send a 1 x; receive-from a                                     -> a is down: code 3
         receive-from b                                                 -> b: a is down: code 3
         try-receive                                                    -> nothing
         monitor a                                                      -> no-process
         monitor 0                                                      -> no-process
         monitor 9999                                                   -> no-process
         receive-from a                                                 -> no-process",
    );
}

#[test]
fn nobody_hears_of_an_end_after_which_it_has_not_asked() {
    perform(
        "",
        "spawn a { receive }; send a 1 x; receive-from a                -> no-process
         try-receive                                                    -> nothing",
    );
}

#[test]
fn kill() {
    perform(
        "",
        "spawn child { spawn grandchild { receive }; monitor grandchild; tell; forever { receive; tell } }  -> ok
         receive                                                        -> child: ok
         spawn sibling { kill child; tell; kill parent; tell; kill self; tell; receive }  -> ok
         receive-from sibling                                           -> sibling: not-yours
         receive-from sibling                                           -> sibling: not-yours
         receive-from sibling                                           -> sibling: not-yours
         kill self                                                      -> not-yours
         monitor child; kill child; receive-from child                  -> child is down: killed
         kill child                                                     -> no-process
         kill 0                                                         -> no-process
         kill 9999                                                      -> no-process",
    );
}

#[test]
fn kill_a_grandchild() {
    // The child introduces the grandchild by its name.
    perform(
        "",
        "spawn child { spawn grandchild { register it; receive }; monitor grandchild; receive; tell; receive }  -> ok
         there it; find grandchild it; monitor grandchild               -> ok
         kill grandchild; receive-from grandchild                       -> grandchild is down: killed
         receive-from child                                             -> child: grandchild is down: killed",
    );
}

#[test]
fn kill_one_that_loops() {
    perform(
        "",
        "spawn a { tell; spin }; monitor a; receive                     -> a:
         kill a; receive                                                -> a is down: killed",
    );
}

#[test]
fn kill_one_that_has_not_begun() {
    perform(
        "",
        "repeat 100 { spawn a { receive }; monitor a; kill a }          -> 100 ok
         repeat 100 { receive; expect killed }                          -> 100 ok
         try-receive                                                    -> nothing",
    );
}

#[test]
fn children_end_with_their_parent() {
    // Children end with their parent, whatever its exit. `outside` is told of the grandchild.
    for end in ["", "exit 1", "trap", "stack", "receive"] {
        let play = format!(
            "spawn a {{ spawn b {{ spawn c {{ register c; receive }}; receive }}; receive-from parent; {end} }}  -> ok
             there c; find c c; monitor c; monitor a                    -> ok
             send a 1 x; kill a; receive-from c                         -> c is down: killed
             gone c                                                     -> ok"
        );
        perform("--log-level off", &play);
    }
}

#[test]
fn a_child_that_ends_at_once_is_heard_of() {
    perform(
        "--log-level off --max-mailbox 2",
        "spawn-monitor a { trap }; receive                              -> a is down: trap
         spawn-monitor a { }; receive                                   -> a is down: normal
         spawn-monitor a { exit 3 }; receive                            -> a is down: code 3
         spawn-monitor a { receive }; monitor a; kill a; receive        -> a is down: killed
         repeat 2 { spawn-monitor a { receive } }                       -> 2 ok
         spawn-monitor a { receive }                                    -> too-many-monitors
         try-receive                                                    -> nothing",
    );
}

#[test]
fn a_tree_that_grows_while_it_is_felled_does_not_outlive_that() {
    perform(
        "--log-level off --max-processes 100",
        "spawn a { register a; breed }; there a; find a a; monitor a    -> ok
         kill a; receive-from a                                         -> a is down: killed
         room 99                                                        -> ok
         spawn a { }                                                    -> too-many-processes",
    );
}

#[test]
fn names() {
    perform(
        "",
        "whereis it                                                     -> nobody
         register it; whereis it                                        -> self
         register it                                                    -> ok
         register other; whereis other                                  -> self
         spawn a { register it; tell; register mine; tell; whereis it; tell; receive }; receive  -> a: name-taken
         receive                                                        -> a: ok
         receive                                                        -> a: parent
         whereis mine                                                   -> a
         register mine                                                  -> name-taken
         monitor a; kill a; receive                                     -> a is down: killed
         whereis mine                                                   -> nobody
         register mine                                                  -> ok
         register x*0                                                   -> invalid-name
         register x*255                                                 -> ok
         register x*256                                                 -> invalid-name
         whereis x*255                                                  -> self
         whereis x*1000                                                 -> nobody",
    );
}

#[test]
fn names_are_bounded() {
    perform(
        "--max-names 2",
        "register a                                                     -> ok
         spawn b { register b; tell; receive }; receive                 -> b: ok
         register c                                                     -> too-many-names
         register a                                                     -> ok
         register b                                                     -> name-taken
         monitor b; kill b; receive; register c                         -> ok
         register d                                                     -> too-many-names",
    );
}

#[test]
fn a_host_that_is_alone_is_a_cluster_of_one() {
    // The pid of a process of another host: 2^44 + 1.
    perform(
        "--max-names 2",
        "hosts                                                          -> 0 host self
         holder it                                                      -> nobody
         release it                                                     -> not-yours
         claim it; holder it                                            -> self
         claim it                                                       -> ok
         spawn a { claim it; tell; release it; tell; claim mine; tell; holder it; tell; receive }; receive  -> a: name-taken
         receive                                                        -> a: not-yours
         receive                                                        -> a: ok
         receive                                                        -> a: parent
         holder mine                                                    -> a
         whereis mine                                                   -> nobody
         claim mine                                                     -> name-taken
         claim third                                                    -> too-many-names
         monitor a; kill a; receive                                     -> a is down: killed
         holder mine                                                    -> nobody
         claim mine                                                     -> ok
         release mine; holder mine                                      -> nobody
         release mine                                                   -> not-yours
         claim x*0                                                      -> invalid-name
         claim x*256                                                    -> invalid-name
         claim x*255                                                    -> ok
         send 17592186044417 1 x                                        -> no-process
         send-wait 17592186044417 1 x 60000                             -> no-process
         call 17592186044417 x 60000                                    -> no-process
         receive-from 17592186044417                                    -> no-process
         monitor 17592186044417                                         -> no-process
         kill 17592186044417                                            -> no-process",
    );
}

#[test]
fn processes_are_bounded() {
    // The root counts as one of them.
    perform(
        "--max-processes 5",
        "repeat 9 { spawn a { receive } }                               -> 4 ok, then too-many-processes
         monitor a; kill a; receive                                     -> a is down: killed
         repeat 9 { spawn a { receive } }                               -> 1 ok, then too-many-processes",
    );
}

#[test]
fn children_are_bounded() {
    perform(
        "--max-children 2",
        "repeat 9 { spawn a { repeat 9 { spawn b { receive } }; tell; receive } }  -> 2 ok, then too-many-children
         receive-from a                                                 -> a: 2 ok, then too-many-children
         monitor a; kill a; receive-from a                              -> a is down: killed
         repeat 9 { spawn a { receive } }                               -> 1 ok, then too-many-children",
    );
}

#[test]
fn arguments_are_bounded() {
    perform(
        "--max-message 1KiB",
        "spawn a { receive }                                            -> ok
         spawn a x*1025                                                 -> too-large
         spawn a x*2000000                                              -> too-large",
    );
}

#[test]
fn monitors_are_bounded() {
    // Monitors of ended processes count until the message about the end is received.
    perform(
        "--max-mailbox 3",
        "repeat 2 { spawn a { receive }; monitor a }                    -> 2 ok
         spawn b { register b; receive }; there b; monitor b            -> ok
         spawn c { receive }; monitor c                                 -> too-many-monitors
         monitor b                                                      -> ok
         kill b; gone b; monitor c                                      -> too-many-monitors
         receive; monitor c                                             -> ok
         monitor self                                                   -> too-many-monitors",
    );
}

#[test]
fn memory_is_each_process_s_own() {
    perform(
        "--memory 16MiB --log-level off",
        "spawn b { receive; reply fine; receive }                       -> ok
         watch a { oom }; receive                            -> a is down: memory
         call b how-are-you 60000                                       -> fine",
    );
}

#[test]
fn killing_costs_the_same_in_a_deep_tree() {
    // The table looks up descendants under its one lock.
    let server = guest("actor", "--request-timeout 600s --max-processes 1100");
    let grown = "chain 1000 { register deep; receive }; there deep; find deep deep; \
                 spawn flat { register flat; receive }; there flat";
    assert_eq!(outcome(&server, grown), "ok");
    let micros = |target: &str| {
        let kills =
            format!("spawn k {{ find it {target}; kills it 5000; tell; receive }}; receive-from k");
        let said = outcome(&server, &kills);
        let (_, micros) = said.rsplit_once(' ').expect("a time");
        micros.parse::<u64>().unwrap_or_else(|_| panic!("{said}"))
    };
    // Walking a thousand steps would take some hundred times as long. A noisy machine delays either
    // side. So the times must be similar in at least one attempt.
    eventually("a deep tree is as quick as a flat one", || {
        (micros("deep") < 20 * micros("flat")).then_some(())
    });
    assert_eq!(outcome(&server, "kill deep; gone deep"), "ok");
    assert_eq!(outcome(&server, "kill next; gone next"), "ok");
    server.wait_living(4);
}

#[test]
fn nobody_ends_later_than_the_root() {
    // Processes that loop or wait don't keep the program running, nor do processes that no other
    // knows.
    let play = "repeat 3 { spawn a { spawn b { spin }; spin } }; spawn c { receive }; spawn d { pause 60000 }";
    let ended = run("actor", "--log-level debug", &[play]);
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (0, "ok\n"),
        "{}",
        ended.errors
    );
}
