//! A command in Rust, as any program is: it knows the standard library and no host. Asked by CGI,
//! the path says what it does; run by itself, the first argument does.

use std::io::{Read, Write, copy, stderr, stdin, stdout};
use std::process::exit;

mod scripted;

fn main() {
    if scripted::run() {
        return;
    }
    let path = std::env::var("PATH_INFO").ok();
    let word = path.as_deref().and_then(|path| path.strip_prefix('/'));
    let word = word.map(str::to_owned).or_else(|| std::env::args().nth(1));
    if path.is_some() {
        print("Content-Type: text/plain\r\n\r\n");
    }
    match word.as_deref().unwrap_or_default() {
        "environ" => {
            for (name, value) in std::env::vars() {
                print(&format!("{name}={value}\n"));
            }
        }
        "args" => {
            for argument in std::env::args() {
                print(&format!("{argument}\n"));
            }
        }
        "echo" => {
            copy(&mut stdin(), &mut stdout()).expect("standard input is copied");
        }
        "upper" => {
            let mut text = String::new();
            stdin()
                .read_to_string(&mut text)
                .expect("standard input is text");
            print(&text.to_uppercase());
        }
        "read" => {
            let file = std::env::args()
                .nth(2)
                .or_else(|| std::env::var("QUERY_STRING").ok());
            match std::fs::read_to_string(file.unwrap_or_default()) {
                Ok(text) => print(&text),
                Err(error) => print(&format!("error: {}\n", error.kind())),
            }
        }
        "complain" => writeln!(stderr(), "a complaint").expect("standard error is written"),
        "panic" => panic!("as asked"),
        word => match word
            .strip_prefix("exit-")
            .and_then(|code| code.parse().ok())
        {
            Some(code) => exit(code),
            None => print("hello\n"),
        },
    }
}

fn print(text: &str) {
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .expect("standard output is written");
    out.flush().expect("standard output is written");
}
