//! The servers of NATS: one that is killed and comes back, and the loss of one of three.

use std::thread;
use std::time::{Duration, Instant};

use super::{Cluster, HASTY, Host, MARGIN, answerer, wait_answered_by, wait_running};
use crate::support::nats::Nats;
use crate::support::server::{guest, serve};
use crate::support::{Folder, meanwhile};

const CUT_OFF: &str = "cut off from the cluster";
const BACK: &str = "the cluster is back";

#[test]
fn hosts_come_back_with_the_server() {
    const ROUNDS: usize = 2;
    let mut cluster = Cluster::new(&format!("--queue-timeout 100s {HASTY}"));
    let front = cluster.front("");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", "--workers 4"));
    let both = cluster.both("misbehave", "--workers 4");
    let all = [&front, &workers[0], &workers[1], &both];
    front.wait_there(&[&workers[0], &workers[1], &both]);
    let mut newest = both.number;
    for round in 1..=ROUNDS {
        cluster.nats.kill();
        for host in all {
            host.wait_entries(CUT_OFF, round);
        }
        // Whoever has processes serves alone.
        let mut client = both.client();
        for _ in 0..20 {
            assert_eq!(answerer(&client.get("/ok")), both.number);
        }
        cluster.nats.restart();
        for host in all {
            host.wait_entries(BACK, round);
        }
        wait_answered_by(&front, &[&workers[0], &workers[1], &both]);
        // No number is given twice, whatever the server has been through.
        let joined = cluster.worker("misbehave", "--workers 1");
        assert!(joined.number > newest, "{} after {newest}", joined.number);
        newest = joined.number;
        front.wait_there(&[&joined]);
        wait_answered_by(&front, &[&joined]);
    }
}

/// The server comes back at once, and what it knew of requests under way is gone.
#[test]
fn requests_under_way_are_answered_or_lost() {
    const REQUESTS: usize = 8;
    const TAKES: Duration = Duration::from_secs(3);
    let mut cluster = Cluster::new("--queue-timeout 100s");
    let front = cluster.front("");
    let workers = [(); 2].map(|()| cluster.worker("misbehave", "--workers 8"));
    front.wait_there(&workers.each_ref());
    let clients: Vec<_> = ["GET", "POST"].repeat(REQUESTS / 2);
    let (replies, killed) = thread::scope(|scope| {
        let clients: Vec<_> = clients
            .iter()
            .map(|method| {
                let front = &front;
                let target = format!("/slow?ms={}", TAKES.as_millis());
                scope.spawn(move || (*method, front.request(method, &target, &[], b"")))
            })
            .collect();
        wait_running(&workers.each_ref(), REQUESTS);
        let killed = Instant::now();
        cluster.nats.kill();
        cluster.nats.restart();
        let join = |client: thread::ScopedJoinHandle<'_, _>| client.join().expect("an answer");
        let replies: Vec<_> = clients.into_iter().map(join).collect();
        (replies, killed)
    });
    for (method, reply) in replies {
        assert!([200, 502].contains(&reply.status), "{method}: {reply:?}");
    }
    // Once more, and what it takes to notice.
    let took = killed.elapsed();
    assert!(
        took < TAKES * 2 + Duration::from_secs(3) + MARGIN,
        "{took:?}"
    );
    wait_answered_by(&front, &workers.each_ref());
}

/// Each host knows all servers, and goes to another one.
#[test]
fn one_of_three_servers_is_lost() {
    let [first, second, mut third] = Nats::three();
    let urls = [&first, &second, &third].map(|server| format!("nats://{}", server.address()));
    let flags = format!(
        "--nats {} --expose-pid --queue-timeout 100s",
        urls.join(",")
    );
    let front = Host::joined(serve(Folder::new(), &format!("{flags} --role front")));
    let worker = || {
        let flags = format!("{flags} --role worker --workers 2");
        Host::joined(guest("misbehave", &flags))
    };
    let workers = [(); 4].map(|()| worker());
    let all = workers.each_ref();
    front.wait_there(&all);
    let counts = super::counts::Counts::default();
    let client = |goes_on: &dyn Fn() -> bool| {
        let mut client = front.client();
        while goes_on() {
            counts.add(&client.get("/ok"));
        }
    };
    meanwhile(4, client, || {
        counts.wait_served(200);
        third.kill();
        counts.wait_served(200);
    });
    assert_eq!(counts.all(), counts.with(200) + counts.with(502));
    wait_answered_by(&front, &all);
    third.restart();
    wait_answered_by(&front, &all);
}
