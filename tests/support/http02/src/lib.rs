//! A worker for `wasi:http/proxy@0.2` that runs the script of its request.

use std::time::Duration;

use script::{Asked, Step};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    ErrorCode, Fields, FutureTrailers, IncomingBody, IncomingRequest, Method, OutgoingBody,
    OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// The most bytes that are read or written at once.
const PIECE_BYTES: usize = 64 << 10;

wasip2::http::proxy::export!(Worker);

struct Worker;

impl Guest for Worker {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let fields = request.headers().entries();
        let method = method(&request.method());
        let target = request.path_with_query().unwrap_or_default();
        let steps = script::steps(Asked {
            method: &method,
            target: &target,
            fields: &fields,
        });
        let description = describe(&request, &method, &target, &fields);
        let mut exchange = Exchange {
            request,
            description,
            input: None,
            out: Some(out),
            status: 200,
            fields: Vec::new(),
            trailers: Vec::new(),
            output: None,
        };
        for step in steps {
            match exchange.run(step) {
                Ok(true) => {}
                // Nobody takes the body any more.
                Ok(false) | Err(_) => return,
            }
        }
        exchange.finish();
    }
}

struct Exchange {
    request: IncomingRequest,
    description: String,
    input: Option<(InputStream, IncomingBody)>,
    out: Option<ResponseOutparam>,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    trailers: Vec<(String, Vec<u8>)>,
    /// The stream before the body: it has to be dropped first.
    output: Option<(OutputStream, OutgoingBody)>,
}

impl Exchange {
    /// Runs a step. Returns whether to go on.
    fn run(&mut self, step: Step) -> Result<bool, StreamError> {
        if step.is_run_anywhere() {
            return Ok(true);
        }
        match step {
            Step::Status(status) => self.status = status,
            Step::Field(name, value) => self.fields.push((name, value)),
            Step::Trailer(name, value) => self.trailers.push((name, value)),
            Step::Head => self.head(),
            Step::Bare => self.bare(),
            Step::Say(text) => self.write(&text)?,
            Step::Write(length) => {
                let piece = vec![b'x'; PIECE_BYTES];
                let mut left = length;
                while left > 0 {
                    let now = left.min(piece.len());
                    self.write(&piece[..now])?;
                    left -= now;
                }
            }
            Step::Echo => {
                while let Some(piece) = self.read() {
                    self.write(&piece)?;
                }
                self.take_trailers();
            }
            Step::Count => {
                let mut count = 0;
                while let Some(piece) = self.read() {
                    count += piece.len();
                }
                self.write(count.to_string().as_bytes())?;
            }
            Step::Read => drop(self.read()),
            Step::Describe => self.write(&self.description.clone().into_bytes())?,
            Step::Finish => self.finish(),
            Step::Forget => std::mem::forget(self.output.take()),
            Step::Abort => drop(self.output.take()),
            Step::Sleep(millis) => std::thread::sleep(Duration::from_millis(millis)),
            Step::Refuse => {
                let refusal = ErrorCode::InternalError(Some("it was asked to refuse".into()));
                self.set(Err(refusal));
            }
            Step::Leak(count) => (0..count).for_each(|_| std::mem::forget(Fields::new())),
            Step::Return => return Ok(false),
            // This contract has no tasks.
            Step::Tasks(_)
            | Step::Spin
            | Step::Trap
            | Step::Memory
            | Step::Exit(_)
            | Step::Print(_) => {}
        }
        Ok(true)
    }

    fn head(&mut self) {
        let fields = Fields::from_list(&self.fields).expect("fields");
        let response = OutgoingResponse::new(fields);
        response.set_status_code(self.status).expect("a status");
        let body = response.body().expect("a body");
        self.set(Ok(response));
        self.output = Some((body.write().expect("a stream"), body));
    }

    fn bare(&mut self) {
        let fields = Fields::from_list(&self.fields).expect("fields");
        self.set(Ok(OutgoingResponse::new(fields)));
    }

    fn set(&mut self, response: Result<OutgoingResponse, ErrorCode>) {
        ResponseOutparam::set(self.out.take().expect("no response yet"), response);
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StreamError> {
        let Some((stream, _)) = &self.output else {
            return Err(StreamError::Closed);
        };
        while !bytes.is_empty() {
            let room = stream.check_write()? as usize;
            if room == 0 {
                stream.subscribe().block();
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            stream.write(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// The next piece of the request's body.
    fn read(&mut self) -> Option<Vec<u8>> {
        let (stream, _) = self.input.get_or_insert_with(|| {
            let body = self.request.consume().expect("a body");
            (body.stream().expect("a stream"), body)
        });
        match stream.blocking_read(PIECE_BYTES as u64) {
            Ok(piece) => Some(piece),
            Err(StreamError::Closed) => None,
            Err(StreamError::LastOperationFailed(error)) => {
                panic!("reading: {}", error.to_debug_string())
            }
        }
    }

    fn take_trailers(&mut self) {
        let Some((stream, body)) = self.input.take() else {
            return;
        };
        drop(stream);
        let trailers: FutureTrailers = IncomingBody::finish(body);
        trailers.subscribe().block();
        if let Some(Ok(Ok(Some(trailers)))) = trailers.get() {
            self.trailers.extend(trailers.entries());
        }
    }

    fn finish(&mut self) {
        let Some((stream, body)) = self.output.take() else {
            return;
        };
        drop(stream);
        let trailers = std::mem::take(&mut self.trailers);
        let trailers =
            (!trailers.is_empty()).then(|| Fields::from_list(&trailers).expect("trailers"));
        if let Err(error) = OutgoingBody::finish(body, trailers) {
            println!("finish: {error:?}");
        }
    }
}

fn describe(
    request: &IncomingRequest,
    method: &str,
    target: &str,
    fields: &[(String, Vec<u8>)],
) -> String {
    let scheme = match request.scheme() {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) => "https",
        Some(Scheme::Other(_)) => "other",
        None => "none",
    };
    let authority = request.authority().unwrap_or_default();
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
