//! The address and the content that the program serves, with few arguments or none.

use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use super::{run, wat_file};
use crate::support::server::{PROGRAM, component, serve};
use crate::support::wat::{slow, worker};
use crate::support::{Folder, guests, own_address};

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address");
    let localhost = format!("localhost:{}", address.port());
    let port = address.port().to_string();
    for listen in [&address.to_string(), &localhost, &port] {
        // The module doesn't exist either, but that error would come later.
        let (code, output, errors) = run(&["--listen", listen, "--module", "missing.wasm"]);
        assert_eq!((code, output.as_str()), (1, ""), "{listen}: {errors}");
        assert!(errors.contains(&port), "{listen}: {errors}");
        assert!(!errors.contains("missing"), "{listen}: {errors}");
    }
}

#[test]
fn nobody_is_accepted_before_the_module_is_compiled() {
    let module = wat_file(&slow());
    let address = {
        let listener = TcpListener::bind((own_address(), 0)).expect("a free port");
        listener.local_addr().expect("its address")
    };
    let mut child = Command::new(PROGRAM)
        .arg(module.path())
        .args(["--no-cache", "--listen", &address.to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let mut line = String::new();
    while !line.contains("compiling") {
        let count = errors.read_line(&mut line).expect("a line");
        assert!(count > 0, "{line}");
    }
    let refused = TcpStream::connect(address).map_err(|error| error.kind());
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
}

#[test]
fn words_mean_the_obvious() {
    let folder = Folder::new().file("index.html", "home");
    let root = folder.root().display().to_string();
    let module = guests::path("hello").display().to_string();
    #[rustfmt::skip] // one line per case
    let cases = [
        ("ROOT --listen 0", "module built-in, mode pool, root ROOT"),
        ("serve ROOT --listen 0", "module built-in, root ROOT"),
        ("serve --root ROOT --listen 0", "module built-in, root ROOT"),
        ("MODULE --listen 0", "module MODULE, root ."),
        ("MODULE --root ROOT --listen 0", "module MODULE, root ROOT"),
        ("serve ROOT --module MODULE --listen 0", "module MODULE, root ROOT"),
        ("ROOT --listen :0", "http://127.0.0.1:"),
        ("ROOT --listen localhost:0", "http://127.0.0.1:"),
        ("ROOT --listen 127.0.0.1:0", "http://127.0.0.1:"),
        ("ROOT --listen 0.0.0.0:0", "http://0.0.0.0:"),
        ("ROOT --listen 0 --request-timeout 5 --idle-timeout 5 --grace 1", "module built-in"),
        ("serve MODULE --listen 0 --mode single --memory 33554432", "mode single"),
    ];
    let put = |text: &str| text.replace("ROOT", &root).replace("MODULE", &module);
    for (words, expected) in cases {
        let mut child = Command::new(PROGRAM)
            .args(put(words).split_whitespace())
            .current_dir(folder.outside())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        let read = BufReader::new(output).read_line(&mut line);
        child.kill().and_then(|()| child.wait()).expect("it ends");
        read.expect("a line");
        for part in put(expected).split(", ") {
            assert!(line.contains(part), "{words}: {line}");
        }
    }
}

#[test]
fn components_as_text() {
    let server = component(
        &worker("(i32.store16 (i32.const 1024) (i32.const 299))"),
        Folder::new(),
        "--workers 1",
    );
    assert_eq!(server.get("/").status, 299);
}

#[test]
fn without_a_module_files_are_served() {
    let server = serve(Folder::new().file("index.html", "home"), "");
    assert_eq!(server.get("/").body, b"home");
    let address = server.address();
    assert!(address.ip().is_loopback());
}
