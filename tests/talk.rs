//! Messages between processes: each call of `mailbox`, with processes that live, are dead, have no room, or
//! end meanwhile. Each line is a script for `support/actor`, and what the last statement of it comes to.

use crate::support::program::perform;

#[test]
fn messages_are_copied() {
    // The sender overwrites the very bytes that it has sent, the receiver those that it has received.
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
         spawn full { receive-reply parent 9 60000 }                    -> ok
         repeat 9 { send full 1 x }                                     -> 2 ok, then mailbox-full
         kill full; monitor full; receive                               -> full is down: killed
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
         spawn sleeper { receive-reply parent 9 60000; receive-from parent; tell; receive }  -> ok
         send-wait sleeper 1 late 20                                    -> timed-out
         send sleeper 2 second                                          -> ok
         send sleeper 9 wake-up; receive                                -> sleeper: parent 2 second",
    );
}

#[test]
fn send_wait_to_a_full_mailbox_is_taken_in_its_turn() {
    perform(
        "--max-mailbox 2",
        "spawn full { receive-reply parent 9 60000; forever { receive; tell } }     -> ok
         repeat 9 { send full 1 x }                                                 -> 2 ok, then mailbox-full
         spawn other { send-wait full 3 y 60000; tell }                             -> ok
         send-wait full 9 wake-up 60000                                             -> ok
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
        "spawn victim { receive-reply parent 9 60000 }                  -> ok
         spawn writer { tell; send-wait victim 1 x 60000; tell }        -> ok
         receive                                                        -> writer:
         kill victim; receive                                           -> writer: no-process",
    );
}

#[test]
fn send_wait_while_the_sender_is_killed() {
    // `after` hears that the writer is gone; by then its message is, too.
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
         spawn a { receive }; monitor a; send a 1 x; receive-reply a 1 60000  -> no-process
         receive                                                        -> a is down: normal",
    );
}

#[test]
fn receive_reply() {
    perform(
        "",
        "spawn a { send parent 5 x; send parent 6 y; receive }          -> ok
         receive-reply a 6 60000                                        -> a 6 y
         receive-reply a 6 20                                           -> timed-out
         receive-reply a 6 0                                            -> timed-out
         receive-reply a 5 0                                            -> a 5 x
         kill a; receive-reply a 6 60000                                -> no-process
         receive-reply self 6 60000                                     -> no-process
         send self 6 z; receive-reply self 6 60000                      -> self 6 z
         receive-reply 0 6 60000                                        -> no-process
         try-receive                                                    -> nothing",
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
        "receive-reply parent 1 60000",
        "receive-timeout 60000",
        "send-wait parent 1 x 60000",
        "pause 60000",
    ] {
        let spawn = format!("spawn victim {{ tell; {wait} }}; monitor victim; receive -> victim:");
        let kill = "kill victim; receive-reply victim 9 60000 -> no-process";
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
         spawn crashing { receive; trap }; call crashing ping 60000     -> no-process
         spawn full { receive-reply parent 9 60000 }; repeat 9 { send full 1 x }  -> 2 ok, then mailbox-full
         call full ping 60000                                           -> mailbox-full",
    );
}

#[test]
fn a_late_reply_is_not_taken_for_another() {
    perform(
        "",
        "spawn slow { receive; receive; reply-before late; reply second; receive; reply third }  -> ok
         call slow ping 20                                              -> timed-out
         call slow ping 60000                                           -> second
         call slow ping 60000                                           -> third
         receive                                                        -> slow calls: late",
    );
}

#[test]
fn mailboxes_are_full_by_bytes() {
    perform(
        "--max-mailbox-bytes 1000B --max-message 400B",
        "spawn full { receive-reply parent 9 60000; receive; tell; receive-reply parent 9 60000 }  -> ok
         repeat 9 { send full 1 x*400 }                                 -> 2 ok, then mailbox-full
         send full 1 x*200                                              -> ok
         send full 1 x                                                  -> mailbox-full
         repeat 9 { send full 1 x*0 }                                   -> 9 ok
         send-wait full 9 x*400 60000; receive                          -> full: parent 1 x*400
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
         send 9999 1 x*1025                                             -> too-large
         spawn a { receive; reply x*1025; tell; receive }; send a 1 x; receive  -> a: too-large
         try-receive                                                    -> nothing",
    );
}

#[test]
fn down_always_arrives_and_last() {
    // The mailbox is full when the process ends, with what it had sent.
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
fn nobody_forges_a_down() {
    perform(
        "",
        "forge self                                                     -> not-yours
         spawn a { receive }; forge a                                   -> not-yours
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
