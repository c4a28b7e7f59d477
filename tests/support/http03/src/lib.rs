//! A worker for `wasi:http/service@0.3` that runs the script of its request. What follows the head
//! runs in a task behind the call.

use script::{Asked, Step};
use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme, Trailers};
use wasip3::wit_bindgen::{FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

/// The most bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;

const NANOS_PER_MILLI: u64 = 1_000_000;

type TrailersResult = Result<Option<Trailers>, ErrorCode>;

wasip3::http::service::export!(Worker);

struct Worker;

impl Guest for Worker {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let fields = request.get_headers().copy_all();
        let method = method(&request.get_method());
        let target = request.get_path_with_query().unwrap_or_default();
        let steps = script::steps(Asked {
            method: &method,
            target: &target,
            fields: &fields,
        });
        let mut exchange = Exchange {
            description: describe(&request, &method, &target, &fields),
            request: Some(request),
            input: None,
            status: 200,
            fields: Vec::new(),
            trailers: Vec::new(),
            output: None,
        };
        let mut steps = steps.into_iter();
        while let Some(step) = steps.next() {
            if let Step::Head = step {
                let response = exchange.head();
                spawn_local(async move {
                    for step in steps {
                        if !exchange.run(step).await {
                            return;
                        }
                    }
                    exchange.finish().await;
                });
                return Ok(response);
            }
            if let Step::Bare = step {
                let (_trailing, trailers) = wit_future::new(|| Ok(None));
                let (response, _delivered) = Response::new(Fields::new(), None, trailers);
                return Ok(response);
            }
            if let Step::Refuse | Step::Return = step {
                break;
            }
            exchange.run(step).await;
        }
        Err(ErrorCode::InternalError(Some(
            "it was asked to refuse".into(),
        )))
    }
}

struct Exchange {
    description: String,
    request: Option<Request>,
    input: Option<(StreamReader<u8>, FutureReader<TrailersResult>)>,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    trailers: Vec<(String, Vec<u8>)>,
    output: Option<(StreamWriter<u8>, FutureWriter<TrailersResult>)>,
}

impl Exchange {
    /// Runs a step. Returns whether to go on.
    async fn run(&mut self, step: Step) -> bool {
        if step.is_run_anywhere() {
            return true;
        }
        match step {
            Step::Status(status) => self.status = status,
            Step::Field(name, value) => self.fields.push((name, value)),
            Step::Trailer(name, value) => self.trailers.push((name, value)),
            Step::Say(text) => return self.write(text).await,
            Step::Write(length) => {
                let mut left = length;
                while left > 0 {
                    let now = left.min(PIECE_BYTES);
                    if !self.write(vec![b'x'; now]).await {
                        return false;
                    }
                    left -= now;
                }
            }
            Step::Echo => {
                while let Some(piece) = self.read().await {
                    if !self.write(piece).await {
                        return false;
                    }
                }
                self.take_trailers().await;
            }
            Step::Count => {
                let mut count = 0;
                while let Some(piece) = self.read().await {
                    count += piece.len();
                }
                return self.write(count.to_string().into_bytes()).await;
            }
            Step::Read => drop(self.read().await),
            Step::Describe => return self.write(self.description.clone().into_bytes()).await,
            Step::Finish => self.finish().await,
            Step::Forget => std::mem::forget(self.output.take()),
            Step::Abort => {
                if let Some((stream, trailers)) = self.output.take() {
                    let reason = ErrorCode::InternalError(Some("it was asked to abort".into()));
                    drop(stream);
                    let _untold = trailers.write(Err(reason)).await;
                }
            }
            Step::Sleep(millis) => wait_for(millis * NANOS_PER_MILLI).await,
            Step::Tasks(count) => (0..count).for_each(|_| {
                spawn_local(wait_for(60_000 * NANOS_PER_MILLI));
            }),
            Step::Leak(count) => (0..count).for_each(|_| std::mem::forget(Fields::new())),
            Step::Return => return false,
            Step::Head
            | Step::Bare
            | Step::Refuse
            | Step::Spin
            | Step::Trap
            | Step::Memory
            | Step::Exit(_)
            | Step::Print(_) => {}
        }
        true
    }

    fn head(&mut self) -> Response {
        let fields = Fields::from_list(&self.fields).expect("fields");
        let (writer, stream) = wit_stream::new();
        let (trailing, trailers) = wit_future::new(|| Ok(None));
        let (response, _delivered) = Response::new(fields, Some(stream), trailers);
        response.set_status_code(self.status).expect("a status");
        self.output = Some((writer, trailing));
        response
    }

    /// Writes all bytes. Returns whether somebody takes them.
    async fn write(&mut self, bytes: Vec<u8>) -> bool {
        let Some((stream, _)) = &mut self.output else {
            return false;
        };
        stream.write_all(bytes).await.is_empty()
    }

    /// The next piece of the request's body.
    async fn read(&mut self) -> Option<Vec<u8>> {
        if let Some(request) = self.request.take() {
            let (_failing, failed) = wit_future::new(|| Ok(()));
            self.input = Some(Request::consume_body(request, failed));
        }
        let (stream, _) = self.input.as_mut()?;
        let (result, piece) = stream.read(Vec::with_capacity(PIECE_BYTES)).await;
        match result {
            StreamResult::Complete(_) => Some(piece),
            StreamResult::Dropped | StreamResult::Cancelled => (!piece.is_empty()).then_some(piece),
        }
    }

    async fn take_trailers(&mut self) {
        let Some((stream, trailers)) = self.input.take() else {
            return;
        };
        drop(stream);
        match trailers.await {
            Ok(Some(trailers)) => self.trailers.extend(trailers.copy_all()),
            Ok(None) => {}
            Err(error) => panic!("reading: {error:?}"),
        }
    }

    async fn finish(&mut self) {
        let Some((stream, trailing)) = self.output.take() else {
            return;
        };
        drop(stream);
        let trailers = std::mem::take(&mut self.trailers);
        let trailers =
            (!trailers.is_empty()).then(|| Fields::from_list(&trailers).expect("trailers"));
        let _untold = trailing.write(Ok(trailers)).await;
    }
}

fn describe(request: &Request, method: &str, target: &str, fields: &[(String, Vec<u8>)]) -> String {
    let scheme = match request.get_scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        Some(Scheme::Other(_)) => "other",
        None => "none",
    };
    let authority = request.get_authority().unwrap_or_default();
    let mut text = format!("{method} {target}\n{scheme} {authority}\n");
    for (name, value) in fields {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value));
    }
    text
}

fn method(method: &Method) -> String {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
    .to_owned()
}
