//! A server inside another program: a folder is served by sandboxed processes until Ctrl-C.
//!
//! ```text
//! cargo run --example embed -- examples/site
//! ```

use std::error::Error;
use std::net::TcpListener;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use wasm_pool_host::{Host, Settings};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let host = Host::start(Settings {
        root: folder.into(),
        ..Settings::default()
    })
    .await?;
    for process in host.processes() {
        println!("process {} is {}", process.pid, process.state.name());
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("serving http://{}", listener.local_addr()?);
    let stopped = async {
        interrupt.recv().await;
        host.stop(Duration::from_secs(10)).await;
        Ok(())
    };
    tokio::try_join!(host.serve(listener), stopped)?;
    println!("{} requests were answered", host.stats().answered);
    Ok(())
}
