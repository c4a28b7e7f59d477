//! A command for WASI 0.3, which has streams and tasks. It prints its path, what it reads, and one
//! line more after `run` has returned.

use wasip3::cli::{environment, stderr, stdin, stdout};
use wasip3::exports::cli::run::Guest;
use wasip3::wit_bindgen::rt::async_support::StreamWriter;

wasip3::cli::command::export!(Commander);

struct Commander;

impl Guest for Commander {
    async fn run() -> Result<(), ()> {
        let variables = environment::get_environment();
        let path = variables.iter().find(|(name, _)| name == "PATH_INFO");
        let path = path.map_or("", |(_, path)| path).to_owned();
        let (out, printed) = wasip3::wit_stream::new();
        // The host reads this stream for as long as anybody writes to it.
        let _written = stdout::write_via_stream(printed);
        if path == "/fail" {
            return Err(());
        }
        wasip3::spawn_local(async move { print(out, &path).await });
        Ok(())
    }
}

async fn print(mut out: StreamWriter<u8>, path: &str) {
    let (mut errors, complained) = wasip3::wit_stream::new();
    let _written = stderr::write_via_stream(complained);
    errors.write_all(b"a complaint\n".to_vec()).await;
    let head = format!("Content-Type: text/plain\n\n{path}\n");
    out.write_all(head.into_bytes()).await;
    let (input, _ended) = stdin::read_via_stream();
    let input = input.collect().await;
    out.write_all(input).await;
    out.write_all(b"\nthe end\n".to_vec()).await;
}
