//! The server stub of `queue`. Each call becomes plain values and a call of the queues. Jobs that a
//! process has are kept here, by number.

use std::collections::BTreeMap;
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Result, StoreContextMut};

use super::bindings::handler::wasm_pool::worker::queue::{ErrorCode, Job};
use super::contract;
use super::lifted::{Bounded, Bulk};
use super::mailbox::{begin_slice, noting};
use super::rpc::Rpc;
use super::state::{HasState, State};
use crate::queues::{MAX_DELAY, MAX_JOBS, Queue, QueueError, Taken};
use crate::tally::Interface;
use crate::text;

/// The result of a call, for the guest.
type Outcome<T> = std::result::Result<T, ErrorCode>;

/// The result of a call, for the host.
type Done<T> = std::result::Result<T, QueueError>;

/// Jobs that a process has.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    /// The number of the last one.
    last: u64,
    taken: BTreeMap<u64, Box<dyn Taken>>,
}

/// Links the functions of `queue`. NATS is asked meanwhile, so these are calls that may have to
/// wait.
pub(super) fn add_to_linker<T: HasState>(linker: &mut Linker<T>) -> Result<()> {
    type Store<'a, T> = StoreContextMut<'a, T>;
    let mut queue = linker.instance(&contract::interface("queue"))?;
    queue.func_wrap_async(
        "put",
        |mut store: Store<'_, T>, (queue, bytes): (Bounded<String>, Bulk)| {
            Box::new(async move {
                let put = store.data_mut().state().put_job(queue, bytes).await;
                begin_slice(&mut store);
                Ok((put,))
            })
        },
    )?;
    queue.func_wrap_async(
        "take",
        |mut store: Store<'_, T>, (queue, timeout): (Bounded<String>, u32)| {
            Box::new(async move {
                let taken = store.data_mut().state().take_job(queue, timeout).await;
                begin_slice(&mut store);
                Ok((taken,))
            })
        },
    )?;
    queue.func_wrap_async("done", |mut store: Store<'_, T>, (id,): (u64,)| {
        Box::new(async move {
            let done = store.data_mut().state().job_done(id).await;
            begin_slice(&mut store);
            Ok((done,))
        })
    })?;
    queue.func_wrap(
        "give-back",
        |mut store: Store<'_, T>, (id, delay): (u64, u32)| {
            Ok((store.data_mut().state().give_job_back(id, delay),))
        },
    )
}

impl State {
    async fn put_job(&mut self, queue: Bounded<String>, bytes: Bulk) -> Outcome<()> {
        let (Bulk(bytes), queue) = (bytes, name(queue));
        let size = bytes.len();
        let arguments = || format!("{}, {size} bytes", text::quoted(&queue));
        let rpc = self.rpc(Interface::Queue, "put", arguments);
        let put = self.put_bytes(&queue, bytes).await;
        rpc.said(self, size, put, |()| "ok".to_owned())
    }

    async fn put_bytes(&mut self, queue: &str, bytes: Vec<u8>) -> Done<()> {
        let queue = Queue::parse(queue)?;
        let most = usize::try_from(self.settings().max_message).unwrap_or(usize::MAX);
        if bytes.len() > most.min(self.queues().most_bytes()) {
            return Err(QueueError::TooLarge);
        }
        let put = noting(self.queues().put(queue, bytes)).await;
        put.account(self)
    }

    async fn take_job(&mut self, queue: Bounded<String>, timeout_ms: u32) -> Outcome<Option<Job>> {
        let queue = name(queue);
        let arguments = || format!("{}, {timeout_ms} ms", text::quoted(&queue));
        let rpc = self.rpc(Interface::Queue, "take", arguments);
        let time_limit = Duration::from_millis(timeout_ms.into());
        let job = self.take_from(&queue, time_limit).await;
        let size = match &job {
            Ok(Some(job)) => job.bytes.len(),
            Ok(None) | Err(_) => 0,
        };
        rpc.said(self, size, job, |job| match job {
            Some(Job { id, attempt, .. }) => {
                format!("job {id}, {size} bytes, attempt {attempt}")
            }
            None => "nothing".to_owned(),
        })
    }

    async fn take_from(&mut self, queue: &str, time_limit: Duration) -> Done<Option<Job>> {
        let queue = Queue::parse(queue)?;
        if self.jobs.taken.len() >= MAX_JOBS {
            return Err(QueueError::TooManyJobs);
        }
        let taken = noting(self.queues().take(queue, time_limit)).await;
        let job = taken.account(self)?;
        Ok(job.map(|job| Job {
            id: self.jobs.add(job.taken),
            attempt: job.attempt,
            bytes: job.bytes,
        }))
    }

    async fn job_done(&mut self, id: u64) -> Outcome<()> {
        let rpc = self.rpc(Interface::Queue, "done", || format!("job {id}"));
        let done = match self.jobs.taken.get(&id) {
            Some(taken) => {
                let done = noting(taken.done()).await;
                done.account(self)
            }
            None => Err(QueueError::NotYours),
        };
        if done.is_ok() {
            self.jobs.taken.remove(&id);
        }
        rpc.said(self, 0, done, |()| "ok".to_owned())
    }

    fn give_job_back(&mut self, id: u64, delay_ms: u32) -> Outcome<()> {
        let arguments = || format!("job {id}, {delay_ms} ms");
        let rpc = self.rpc(Interface::Queue, "give-back", arguments);
        let given_back = match self.jobs.taken.remove(&id) {
            Some(taken) => {
                let delay = Duration::from_millis(delay_ms.into());
                taken.give_back(delay.min(MAX_DELAY));
                Ok(())
            }
            None => Err(QueueError::NotYours),
        };
        rpc.said(self, 0, given_back, |()| "ok".to_owned())
    }
}

impl Jobs {
    fn add(&mut self, taken: Box<dyn Taken>) -> u64 {
        self.last += 1;
        self.taken.insert(self.last, taken);
        self.last
    }

    pub(super) fn give_all_back(&mut self) {
        self.taken.clear();
    }
}

impl Rpc {
    fn said<T>(
        self,
        state: &State,
        bytes: usize,
        said: Done<T>,
        shown: impl FnOnce(&T) -> String,
    ) -> Outcome<T> {
        let said = said.map_err(ErrorCode::from);
        self.returns(&state.row, bytes, || match &said {
            Ok(value) => shown(value),
            Err(error) => format!("error {}", error.name()),
        });
        said
    }
}

/// A name that is too long to be copied is none.
fn name(queue: Bounded<String>) -> String {
    queue.within().unwrap_or_default()
}

impl From<QueueError> for ErrorCode {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NoCluster => Self::NoCluster,
            QueueError::Unreachable => Self::Unreachable,
            QueueError::InvalidName => Self::InvalidName,
            QueueError::TooLarge => Self::TooLarge,
            QueueError::NoRoom => Self::NoRoom,
            QueueError::TooManyJobs => Self::TooManyJobs,
            QueueError::NotYours => Self::NotYours,
        }
    }
}
