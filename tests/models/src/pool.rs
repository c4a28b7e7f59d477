//! The pool: a request in line gets the process or seat that becomes free. Nothing is left when the
//! pool is closed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;
use tokio::runtime::Runtime;

use super::tested::{Lease, Pool, Refusal, Reuse, Settings};
use crate::check::Model;
use crate::supervisor::Supervisor;
use crate::sync::timeout;

/// All models of the pool.
pub const MODELS: &[Model] = &[
    Model {
        name: "a process that comes back goes to the request in line",
        run: || served(&[Client::Stays, Client::Stays]),
    },
    Model {
        name: "the seat of a process that ends goes to the request in line",
        run: || served(&[Client::Leaves, Client::Stays]),
    },
    Model {
        name: "a request that gives up hands on what it was granted",
        run: || served(&[Client::Stays, Client::GivesUp, Client::Stays]),
    },
    Model {
        name: "a request that gives up hands on its seat",
        run: || served(&[Client::Leaves, Client::GivesUp, Client::Stays]),
    },
    Model {
        name: "a pool that is closed keeps nothing",
        run: closed,
    },
];

#[derive(Clone, Copy)]
enum Client {
    /// It waits for the answer to its request.
    Stays,
    /// It leaves while its request runs.
    Leaves,
    /// It leaves unless it gets a process at once.
    GivesUp,
}

/// At most one process, and room in line for all requests.
const SETTINGS: Settings = Settings {
    reuse: Reuse::ManyRequests,
    min: 0,
    max: 1,
    max_requests: None,
    memory: 0,
    idle_timeout: Duration::MAX,
    queue: 4,
    queue_timeout: Duration::MAX,
};

/// A pool, the number of its living processes, and the number of processes that it ever started.
fn pool() -> (Arc<Pool>, Arc<AtomicU32>, Arc<AtomicU32>) {
    /// The pool asks for the runtime's number of threads.
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("it has no driver that could fail")
    });
    let _inside = RUNTIME.enter();
    let supervisor = Supervisor::default();
    let (alive, started) = (&supervisor.alive, &supervisor.started);
    let (alive, started) = (Arc::clone(alive), Arc::clone(started));
    (Arc::new(Pool::new(supervisor, SETTINGS)), alive, started)
}

fn client(pool: &Arc<Pool>, client: Client) -> Result<(), Refusal> {
    match client {
        Client::Stays => block_on(take(pool)).map(|lease| pool.release(lease)),
        Client::Leaves => block_on(take(pool)).map(drop),
        Client::GivesUp => match block_on(timeout(Duration::ZERO, take(pool))) {
            Ok(lease) => lease.map(|lease| pool.release(lease)),
            Err(_elapsed) => Ok(()),
        },
    }
}

async fn take(pool: &Arc<Pool>) -> Result<Lease, Refusal> {
    match pool.take_idle() {
        Some(lease) => Ok(lease),
        None => pool.take().await,
    }
}

fn served(clients: &'static [Client]) {
    let (pool, alive, started) = pool();
    let threads = clients.iter().map(|&one| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || client(&pool, one).expect("everybody is served"))
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().expect("everybody is served");
    }
    // Whatever the clients did, the next client gets the seat.
    client(&pool, Client::Stays).expect("the next is served");
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    // Only a client that leaves while its request runs costs a process.
    let leave = clients.iter().filter(|one| matches!(one, Client::Leaves));
    assert_eq!(started.load(Ordering::Relaxed), 1 + leave.count() as u32);
    pool.close(); // the pool and its idle processes own each other
}

fn closed() {
    let (pool, alive, _) = pool();
    let threads = [Client::Stays; 2].map(|one| {
        let pool = Arc::clone(&pool);
        thread::spawn(move || match client(&pool, one) {
            Ok(()) | Err(Refusal::Closed) => {}
            Err(refusal) => panic!("{refusal:?}"),
        })
    });
    pool.close();
    for thread in threads {
        thread.join().expect("everybody hears of it");
    }
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
