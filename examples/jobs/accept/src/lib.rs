//! A handler that accepts mails as jobs. It answers as soon as a mail is stored: who sends it, and
//! when, is another program's business.

use wasm_pool_guest::queue::{self, ErrorCode};
use wasm_pool_guest::{Request, Response, handler};

/// The queue of mails.
const MAILS: &str = "mails";

/// Mails that were tried in vain.
const DEAD: &str = "mails.dead";

handler!(answer);

fn answer(request: Request) -> Response {
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/mails") => accept(&request.body),
        ("GET", "/dead") => show_dead(),
        ("POST", "/dead") => send_once_more(),
        _ => Response::text(404, "POST a mail to /mails.\n"),
    }
}

fn accept(mail: &[u8]) -> Response {
    match queue::put(MAILS, mail) {
        Ok(()) => Response::text(202, "It will be sent.\n"),
        Err(error) => failed(error),
    }
}

/// The oldest dead letter. It is not done, so it is back in its queue after the response.
fn show_dead() -> Response {
    match queue::take(DEAD, 0) {
        Ok(Some(job)) => Response::new(200).with_body(job.bytes),
        Ok(None) => Response::text(404, "There are no dead letters.\n"),
        Err(error) => failed(error),
    }
}

/// Puts the oldest dead letter into the queue again, with five attempts of its own. It is put
/// before it is done: the other way round, it might be lost.
fn send_once_more() -> Response {
    let job = match queue::take(DEAD, 0) {
        Ok(Some(job)) => job,
        Ok(None) => return Response::text(404, "There are no dead letters.\n"),
        Err(error) => return failed(error),
    };
    match queue::put(MAILS, &job.bytes).and_then(|()| queue::done(job.id)) {
        Ok(()) => Response::text(202, "It will be tried again.\n"),
        Err(error) => failed(error),
    }
}

fn failed(error: ErrorCode) -> Response {
    let (status, text) = match error {
        ErrorCode::TooLarge => (413, "The mail is too large.\n"),
        ErrorCode::NoRoom => (503, "There are too many mails at the moment.\n"),
        ErrorCode::NoCluster => (503, "This host is alone: start it with --nats.\n"),
        // Whoever asks again may have it sent twice.
        ErrorCode::Unreachable => (503, "Nobody knows whether it will be sent.\n"),
        ErrorCode::InvalidName | ErrorCode::TooManyJobs | ErrorCode::NotYours => {
            (500, "This worker is wrong.\n")
        }
    };
    Response::text(status, text)
}
