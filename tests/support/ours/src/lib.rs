//! A worker for the project's own contract that runs the script of its request. It has the whole
//! body of the request, and gives the whole body of the response.

use std::time::Duration;

use script::{Asked, Step};
use wasm_pool_guest::{Request, Response, handler};

handler!(run);

fn run(request: Request) -> Response {
    let target = match &request.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.clone(),
    };
    let fields = request.headers.iter();
    let fields: Vec<_> = fields
        .map(|field| (field.name.clone(), field.value.clone()))
        .collect();
    let steps = script::steps(Asked {
        method: &request.method,
        target: &target,
        fields: &fields,
    });
    let mut response = Response::new(200);
    let mut body = Vec::new();
    for step in steps {
        if step.is_run_anywhere() {
            continue;
        }
        match step {
            Step::Status(status) => response.status = status,
            Step::Field(name, value) => response = response.with_header(name, value),
            Step::Say(text) => body.extend(text),
            Step::Write(length) => body.resize(body.len() + length, b'x'),
            Step::Echo => body.extend(&request.body),
            Step::Count => body.extend(request.body.len().to_string().into_bytes()),
            Step::Sleep(millis) => std::thread::sleep(Duration::from_millis(millis)),
            Step::Return => break,
            // What this contract has no word for.
            Step::Head
            | Step::Read
            | Step::Describe
            | Step::Trailer(..)
            | Step::Finish
            | Step::Forget
            | Step::Abort
            | Step::Refuse
            | Step::Leak(_)
            | Step::Bare
            | Step::Tasks(_)
            | Step::Spin
            | Step::Trap
            | Step::Memory
            | Step::Exit(_)
            | Step::Print(_) => {}
        }
    }
    response.with_body(body)
}
