//! Messages between processes: each call of `mailbox`, with processes that live, have ended, have a
//! full mailbox, or end meanwhile. Each line is a script for `support/actor`, with the outcome of
//! its last statement.

use crate::support::program::perform;

#[test]
fn messages_are_copied() {
    // The sender overwrites the bytes that it has sent, and the receiver overwrites the bytes that
    // it has received.
    perform(
        "",
        "spawn echo { forever { echo } }; by-value echo -> \
         sent: true, overwritten: true, came back: true, and again: true, the other is as it was: true
         by-value self -> \
         sent: true, overwritten: true, came back: true, and again: true, the other is as it was: true",
    );
}

#[test]
fn send() {
    perform(
        "--max-mailbox 2",
        "watch dead { }; receive                          -> dead is down: normal
         send dead 1 x                                                  -> no-process
         send 0 1 x                                                     -> no-process
         send 9999 1 x                                                  -> no-process
         send self 7 x; receive                                         -> self 7 x
         spawn full { pause 60000 }                                     -> ok
         repeat 9 { send full 1 x }                                     -> 2 ok, then mailbox-full
         monitor full; kill full; receive                               -> full is down: killed
         send full 1 x                                                  -> no-process
         spawn living { forever { receive; tell } }; send living 1 x    -> ok
         receive                                                        -> living: parent 1 x
         kill living; gone living                                       -> ok",
    );
}

#[test]
fn messages_of_one_sender_keep_their_order() {
    perform(
        "",
        "spawn a { send parent 1 a; send parent 2 b; send-wait parent 3 c 60000; send parent 4 d }  -> ok
         receive                                                                                    -> a 1 a
         receive                                                                                    -> a 2 b
         receive                                                                                    -> a 3 c
         receive                                                                                    -> a 4 d",
    );
}

#[test]
fn send_wait() {
    perform(
        "--max-mailbox 2",
        "watch dead { }; receive                          -> dead is down: normal
         send-wait dead 1 x 60000                                       -> no-process
         send-wait 0 1 x 60000                                          -> no-process
         spawn taker { forever { receive; tell } }                      -> ok
         send-wait taker 1 x 60000; receive                             -> taker: parent 1 x
         send-wait self 1 x 20                                          -> timed-out
         try-receive                                                    -> nothing
         spawn sleeper { there awake; receive-from parent; tell; receive }  -> ok
         send-wait sleeper 1 late 20                                    -> timed-out
         send sleeper 2 second                                          -> ok
         register awake; receive                                        -> sleeper: parent 2 second",
    );
}

#[test]
fn send_wait_to_a_full_mailbox_is_taken_in_its_turn() {
    perform(
        "--max-mailbox 2",
        "spawn full { there awake; forever { receive; tell } }                      -> ok
         repeat 9 { send full 1 x }                                                 -> 2 ok, then mailbox-full
         spawn other { send-wait full 3 y 60000; tell }                             -> ok
         register awake                                                             -> ok
         receive-from full                                                          -> full: parent 1 x
         receive-from full                                                          -> full: parent 1 x
         receive-from full                                                          -> full: somebody 3 y
         receive-from other                                                         -> other: ok",
    );
}

#[test]
fn send_wait_while_the_receiver_is_killed() {
    perform(
        "",
        "spawn victim { pause 60000 }                                   -> ok
         spawn writer { tell; send-wait victim 1 x 60000; tell }        -> ok
         receive                                                        -> writer:
         kill victim; receive                                           -> writer: no-process",
    );
}

#[test]
fn send_wait_while_the_sender_is_killed() {
    // `after` learns that the writer has ended. By then the writer's message is gone, too.
    perform(
        "",
        "spawn writer { tell; send-wait parent 1 x 60000 }; receive     -> writer:
         spawn after { monitor writer; tell; receive; tell }; receive-from after  -> after: ok
         kill writer; receive-from after                                -> after: writer is down: killed
         try-receive                                                    -> nothing",
    );
}

#[test]
fn receive_from() {
    perform(
        "",
        "spawn a { send parent 1 first; receive; send parent 2 second } -> ok
         spawn b { send parent 1 other }                                -> ok
         receive-from b                                                 -> b 1 other
         receive-from a                                                 -> a 1 first
         send a 1 go-on; receive-from a                                 -> a 2 second
         receive-from a                                                 -> no-process
         receive-from self                                              -> no-process
         send self 1 x; receive-from self                               -> self 1 x
         receive-from 0                                                 -> no-process
         receive-from 9999                                              -> no-process",
    );
}

#[test]
fn receive_from_one_who_is_killed() {
    perform(
        "",
        "spawn victim { send parent 1 last; register sent; receive }; there sent  -> ok
         spawn waiter { tell; receive-from victim; tell }; receive-from waiter  -> waiter:
         kill victim; receive-from waiter                               -> waiter: no-process
         receive-from victim                                            -> victim 1 last
         receive-from victim                                            -> no-process",
    );
}

#[test]
fn a_down_is_a_message_of_who_has_ended() {
    perform(
        "",
        "watch a { send parent 1 x }                         -> ok
         receive-from a                                                 -> a 1 x
         receive-from a                                                 -> a is down: normal
         receive-from a                                                 -> no-process
         spawn a { receive }; monitor a; call a x 60000                 -> no-process
         receive                                                        -> a is down: normal",
    );
}

#[test]
fn receive_without_waiting_for_ever() {
    perform(
        "",
        "try-receive                                                    -> nothing
         receive-timeout 0                                              -> nothing
         receive-timeout 20                                             -> nothing
         send self 1 x; receive-timeout 0                               -> self 1 x
         send self 1 x; try-receive                                     -> self 1 x
         spawn a { receive; send parent 1 y }; send a 1 go              -> ok
         receive-timeout 60000                                          -> a 1 y",
    );
}

#[test]
fn receivers_are_killed_while_they_wait() {
    for wait in [
        "receive",
        "receive-from parent",
        "send-and-receive gate 1 x",
        "call gate x 60000",
        "receive-timeout 60000",
        "send-wait parent 1 x 60000",
        "pause 60000",
    ] {
        let spawn = format!(
            "spawn gate {{ pause 60000 }}; spawn victim {{ tell; {wait} }}; monitor victim; receive -> victim:"
        );
        let kill = "kill victim; call victim x 60000 -> no-process";
        let down = "receive -> victim is down: killed";
        perform("", &[&spawn, kill, down].join("\n"));
    }
}

#[test]
fn call() {
    perform(
        "--max-mailbox 2",
        "spawn server { forever { receive; reply pong } }               -> ok
         call server ping 60000                                         -> pong
         spawn other { send parent 1 before; register sent; receive }   -> ok
         there sent; call server ping 60000                             -> pong
         receive                                                        -> other 1 before
         spawn silent { receive; receive; reply late; receive }         -> ok
         call silent ping 20                                            -> timed-out
         call silent ping 60000                                         -> late
         kill silent; call silent ping 60000                            -> no-process
         call self ping 60000                                           -> no-process
         call 0 ping 60000                                              -> no-process
         call 9999 ping 60000                                           -> no-process
         spawn full { pause 60000 }; repeat 9 { send full 1 x }         -> 2 ok, then mailbox-full
         call full ping 60000                                           -> mailbox-full
         repeat 1000 { call server ping 60000; expect pong }            -> 1000 ok
         try-receive                                                    -> nothing",
    );
}

#[test]
fn call_one_that_ends() {
    // The process ends before it receives the call, before it replies, and after it has replied.
    perform(
        "--log-level off",
        "spawn deaf { pause 60000 }; spawn waiter { tell; call deaf x 60000; tell }; receive  -> waiter:
         kill deaf; receive                                             -> waiter: no-process
         spawn holder { receive; register held; pause 60000 }           -> ok
         spawn waiter { call holder x 60000; tell }; there held         -> ok
         kill holder; receive                                           -> waiter: no-process
         spawn crashing { receive; trap }; call crashing x 60000        -> no-process
         spawn a { receive; reply last; trap }; call a x 60000          -> last
         spawn a { receive; call self x 0 }; call a x 60000             -> no-process
         spawn first { receive; receive; receive; register three; pause 60000 }  -> ok
         repeat 3 { spawn b { call first x 60000; tell } }; there three -> ok
         kill first; repeat 3 { receive; expect no-process }            -> 3 ok
         try-receive                                                    -> nothing",
    );
}

#[test]
fn the_end_of_one_that_is_called_is_known_with_it() {
    perform(
        "--log-level off",
        "repeat 100 { spawn-monitor a { register it; receive; trap }; there it; call a x 60000; whereis it; \
         expect nobody; receive; expect trap }                          -> 100 ok",
    );
}

#[test]
fn a_reply_finds_only_the_caller_that_waits_for_it() {
    perform(
        "",
        "spawn slow { receive; receive; reply second; reply-before late; tell; receive; reply third }  -> ok
         call slow ping 20                                              -> timed-out
         call slow ping 60000                                           -> second
         receive                                                        -> slow: no-process
         call slow ping 60000                                           -> third
         spawn twice { receive; reply one; reply two; tell }; call twice x 60000  -> one
         receive                                                        -> twice: no-process
         spawn liar { receive; forge-reply sender 99 wrong; reply right; receive }  -> ok
         call liar x 60000                                              -> right
         spawn a { receive }; forge-reply a 1 x                         -> no-process
         forge-reply self 1 x                                           -> no-process
         forge-reply 9999 1 x                                           -> no-process
         spawn caller { register caller; call parent x 60000 }; receive -> caller calls: x
         kill caller; gone caller; reply y                              -> no-process
         spawn impatient { call parent x 20; tell }; receive            -> impatient calls: x
         receive                                                        -> impatient: timed-out
         reply-before y                                                 -> no-process
         try-receive                                                    -> nothing",
    );
}

#[test]
fn a_reply_is_not_kept_out_by_a_full_mailbox() {
    perform(
        "--max-mailbox 2",
        "spawn server { forever { receive; reply pong } }               -> ok
         repeat 9 { send self 1 x }                                     -> 2 ok, then mailbox-full
         call server ping 60000                                         -> pong
         repeat 2 { receive; expect x }                                 -> 2 ok
         try-receive                                                    -> nothing",
    );
}

#[test]
fn calls_are_replied_to_in_any_order() {
    // More calls than a server is expected to hold at a time.
    perform(
        "",
        "spawn server { repeat 100 { receive; expect x }; register all; there go; repeat 100 { reply-oldest y }; receive }  -> ok
         repeat 100 { spawn a { call server x 60000; tell } }           -> 100 ok
         there all; register go                                         -> ok
         repeat 100 { receive; expect y }                               -> 100 ok
         try-receive                                                    -> nothing",
    );
}

#[test]
fn send_and_receive() {
    perform(
        "--max-mailbox 2",
        "send-and-receive self 1 x                                      -> self 1 x
         spawn a { receive; send-and-receive parent 1 x; tell; receive }; send-and-receive a 1 go  -> a 1 x
         send-and-receive a 2 y                                         -> a: parent 2 y
         spawn server { receive; forever { reply-and-receive pong } }   -> ok
         repeat 9 { call server ping 60000; expect pong }               -> 9 ok
         spawn full { pause 60000 }; repeat 9 { send full 1 x }         -> 2 ok, then mailbox-full
         send self 1 stays                                              -> ok
         send-and-receive full 1 x                                      -> mailbox-full
         send-and-receive 9999 1 x                                      -> no-process
         send-and-receive 0 1 x                                         -> no-process
         respond-and-receive 9999 x                                     -> no-process
         respond-and-receive full x                                     -> not-yours
         receive                                                        -> self 1 stays
         spawn caller { register caller; call parent x 60000 }; receive -> caller calls: x
         kill caller; gone caller; send self 1 stays                    -> ok
         reply-and-receive y                                            -> no-process
         try-receive                                                    -> self 1 stays",
    );
}

#[test]
fn mailboxes_are_full_by_bytes() {
    perform(
        "--max-mailbox-bytes 1000B --max-message 400B",
        "spawn full { there awake; receive; tell; pause 60000 }         -> ok
         repeat 9 { send full 1 x*400 }                                 -> 2 ok, then mailbox-full
         send full 1 x*200                                              -> ok
         send full 1 x                                                  -> mailbox-full
         repeat 9 { send full 1 x*0 }                                   -> 9 ok
         register awake; receive                                        -> full: parent 1 x*400
         send full 1 x*400                                              -> ok
         send full 1 x                                                  -> mailbox-full",
    );
}

#[test]
fn messages_are_bounded() {
    perform(
        "--max-message 1KiB",
        "send self 1 x*1024; receive                                    -> self 1 x*1024
         send self 1 x*1025                                             -> too-large
         send self 1 x*2000000                                          -> too-large
         send-wait self 1 x*1025 0                                      -> too-large
         call self x 0                                                  -> no-process
         call 9999 x*1025 0                                             -> too-large
         call 9999 x*2000000 0                                          -> too-large
         send-and-receive self 1 x*1025                                 -> too-large
         spawn b { receive; reply x*1025; reply x*2000000; reply x*1024 }; call b x 60000  -> x*1024
         send 9999 1 x*1025                                             -> too-large
         spawn a { receive; reply x*1025; tell; receive }; send a 1 x; receive  -> a: too-large
         try-receive                                                    -> nothing",
    );
}

#[test]
fn down_always_arrives_and_last() {
    // The mailbox is full with the process's own messages when the process ends.
    perform(
        "--max-mailbox 2",
        "spawn a { register a; receive; repeat 9 { send parent 1 x }; exit 7 }; monitor a; there a  -> ok
         send a 1 go; gone a                                            -> ok
         send self 1 y                                                  -> mailbox-full
         receive                                                        -> a 1 x
         receive                                                        -> a 1 x
         receive                                                        -> a is down: code 7
         try-receive                                                    -> nothing",
    );
}

#[test]
fn responses_and_requests_need_a_client() {
    perform(
        "",
        "spawn a { receive }; respond-bytes a x*0                       -> not-yours
         respond-bytes self x*0                                         -> not-yours
         respond-bytes 9999 x*0                                         -> no-process
         respond-bytes 0 x*0                                            -> no-process
         invent 9999 a                                                  -> no-process
         invent 0 a                                                     -> no-process
         invent self a                                                  -> not-yours
         invent a a                                                     -> not-yours
         try-receive                                                    -> nothing",
    );
}
