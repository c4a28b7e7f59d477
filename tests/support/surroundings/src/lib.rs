//! A guest that looks around: each path shows one thing of its surroundings, or asks other servers.

#![allow(missing_docs, unreachable_pub)] // of the generated code

use std::net::{TcpStream, UdpSocket};

use wasip2::http::outgoing_handler::{FutureIncomingResponse, handle};
use wasip2::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};
use wasm_pool_guest::{Request, Response, handler};

use self::wasi::config::store;
use self::wasi::logging::logging::{Level, log};

wit_bindgen::generate!({
    generate_all,
    inline: r"
        package test:surroundings;
        world drafts {
            import wasi:config/store@0.2.0-rc.1;
            import wasi:logging/logging@0.1.0-draft;
        }
        package wasi:config@0.2.0-rc.1 {
            interface store {
                variant error { upstream(string), io(string) }
                get: func(key: string) -> result<option<string>, error>;
                get-all: func() -> result<list<tuple<string, string>>, error>;
            }
        }
        package wasi:logging@0.1.0-draft {
            interface logging {
                enum level { trace, debug, info, warn, error, critical }
                log: func(level: level, context: string, message: string);
            }
        }
    ",
    generate_all,
});

handler!(look);

fn look(request: Request) -> Response {
    let parameter = |name| {
        request
            .decoded_parameter(name)
            .unwrap_or_default()
            .into_owned()
    };
    let text = match &*request.path {
        "/args" => std::env::args().collect::<Vec<_>>().join("\n"),
        "/env" => pairs(std::env::vars()),
        "/config" => match store::get(&parameter("key")) {
            Ok(value) => format!("{value:?}"),
            Err(_) => "an error".to_owned(),
        },
        "/configs" => pairs(store::get_all().unwrap_or_default().into_iter()),
        "/log" => {
            log(Level::Critical, "here", &parameter("message"));
            String::new()
        }
        "/read" => shown(std::fs::read_to_string(parameter("path"))),
        "/write" => shown(std::fs::write(parameter("path"), "x").map(|()| "written".to_owned())),
        "/tcp" => shown(TcpStream::connect("127.0.0.1:1").map(|_| "connected".to_owned())),
        "/udp" => shown(UdpSocket::bind("127.0.0.1:0").map(|_| "bound".to_owned())),
        "/fetch" => {
            let count = parameter("count").parse().unwrap_or(1);
            let scheme = match &*parameter("scheme") {
                "https" => Scheme::Https,
                _ => Scheme::Http,
            };
            let ask = |_| ask(&scheme, &parameter("server"), &parameter("path"));
            // All are under way before the first is awaited.
            let asked: Vec<_> = (0..count).map(ask).collect();
            let answers = asked.into_iter().map(|asked| match asked.and_then(answer) {
                Ok(text) => text,
                Err(code) => format!("{code:?}"),
            });
            answers.collect::<Vec<_>>().join("\n")
        }
        _ => return Response::text(404, "no such thing"),
    };
    Response::text(200, text)
}

fn pairs(pairs: impl Iterator<Item = (String, String)>) -> String {
    let lines = pairs.map(|(name, value)| format!("{name}={value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn shown(outcome: std::io::Result<String>) -> String {
    outcome.unwrap_or_else(|error| format!("error: {:?}", error.kind()))
}

fn ask(scheme: &Scheme, server: &str, path: &str) -> Result<FutureIncomingResponse, ErrorCode> {
    let request = OutgoingRequest::new(Fields::new());
    let set = request
        .set_scheme(Some(scheme))
        .and_then(|()| request.set_authority(Some(server)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    handle(request, None)
}

/// The status, and the body behind it.
fn answer(asked: FutureIncomingResponse) -> Result<String, ErrorCode> {
    let response = loop {
        match asked.get() {
            Some(Ok(answer)) => break answer?,
            Some(Err(())) => return Err(ErrorCode::InternalError(None)),
            None => asked.subscribe().block(),
        }
    };
    let (status, mut text) = (response.status(), Vec::new());
    if let Ok(body) = response.consume()
        && let Ok(stream) = body.stream()
    {
        while let Ok(bytes) = stream.blocking_read(1 << 16) {
            text.extend(bytes);
        }
    }
    Ok(format!("{status} {}", String::from_utf8_lossy(&text)))
}
