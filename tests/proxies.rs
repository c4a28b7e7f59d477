//! Proxies: whom the host believes for which client they ask, and whom it does not.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::support::command::plain;
use crate::support::door::Door;
use crate::support::server::{Server, component};
use crate::support::wat::worker;
use crate::support::{Client, Folder, Reply, eventually, untested};

/// Answers with the client's address, and with the status 201 for `https`.
const TELLS: &str = "
    (i32.store (i32.const 1048) (local.get $client))
    (i32.store (i32.const 1052) (local.get $client-length))
    (i32.store16 (i32.const 1024) (i32.add (i32.const 200) (local.get $scheme)))";

fn telling(flags: &str) -> Server {
    component(
        &worker(TELLS),
        Folder::new(),
        &format!("--workers 1 {flags}"),
    )
}

/// The client and the scheme that a worker was told.
fn told(reply: &Reply) -> (String, &'static str) {
    let scheme = match reply.status {
        200 => "http",
        201 => "https",
        other => panic!("{other}: {}", reply.text()),
    };
    (reply.text(), scheme)
}

/// What the worker was told for a request with these fields, and who really asked.
fn ask(server: &Server, fields: &[(&str, &str)]) -> (String, &'static str, String) {
    let mut client = server.client();
    let (told, scheme) = told(&client.request("GET", "/", fields, b""));
    (told, scheme, client.local_address().to_string())
}

#[test]
fn trusted_proxies_are_believed() {
    let server = telling("--trusted-proxy 10.0.0.0/8 --trusted-proxy 127.0.0.1");
    for (fields, named, named_scheme) in [
        (
            vec![("x-forwarded-for", "192.0.2.7")],
            "192.0.2.7:0",
            "http",
        ),
        (
            vec![("x-forwarded-for", "192.0.2.6, 192.0.2.7, 10.1.1.1")],
            "192.0.2.7:0",
            "http",
        ),
        (
            vec![
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-proto", "https"),
            ],
            "192.0.2.7:0",
            "https",
        ),
        (
            vec![("forwarded", "for=\"[2001:db8::7]:4711\";proto=https")],
            "[2001:db8::7]:4711",
            "https",
        ),
        (
            vec![("forwarded", "for=192.0.2.6, for=192.0.2.7")],
            "192.0.2.7:0",
            "http",
        ),
    ] {
        let (told, scheme, _) = ask(&server, &fields);
        assert_eq!((&*told, scheme), (named, named_scheme), "{fields:?}");
        let entry = server.wait_entry("request", |entry| entry["client"] == named);
        assert_eq!(
            entry["status"].as_u64().map(|status| status >= 200),
            Some(true)
        );
    }
    for fields in [
        vec![],
        vec![("x-forwarded-for", "nobody")],
        vec![
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.66"),
        ],
    ] {
        let (told, scheme, own) = ask(&server, &fields);
        assert_eq!((told, scheme), (own, "http"), "{fields:?}");
    }
    let https = server.wait_entry("request", |entry| entry["scheme"] == "https");
    assert_eq!(https["status"], 201);
}

#[test]
fn nobody_else_is_believed() {
    let server = telling("--trusted-proxy 10.0.0.0/8 --trusted-proxy unix --proxy-protocol");
    let fields = [
        ("x-forwarded-for", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7;proto=https"),
        ("x-forwarded-proto", "https"),
    ];
    let (told, scheme, own) = ask(&server, &fields);
    assert_eq!((told, scheme), (own, "http"));
    let mut client = server.client();
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
    client.send(header).expect("it is sent");
    assert_eq!(client.reply("GET").expect("an answer").status, 400);
}

#[test]
fn the_proxy_protocol() {
    let server = telling("--trusted-proxy 127.0.0.1 --proxy-protocol --header-timeout 1s");
    let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    let asked = |header: &[u8]| {
        let mut client = server.client();
        client.send(header).expect("it is sent");
        client.send(request).expect("it is sent");
        let own = client.local_address().to_string();
        (told(&client.reply("GET").expect("an answer")).0, own)
    };
    let version_2 = |command: u8| {
        let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0, 80];
        [
            b"\r\n\r\n\0\r\nQUIT\n",
            &[command, 0x11, 0, 12][..],
            &addresses,
        ]
        .concat()
    };
    let (told, _) = asked(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n");
    assert_eq!(told, "192.0.2.7:4711");
    let (told, _) = asked(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n");
    assert_eq!(told, "[2001:db8::7]:4711");
    assert_eq!(asked(&version_2(0x21)).0, "192.0.2.7:4711");
    for of_its_own in [b"PROXY UNKNOWN\r\n".to_vec(), version_2(0x20)] {
        let (told, own) = asked(&of_its_own);
        assert_eq!(told, own);
    }
    // Without a header, or with half of one, nothing is served.
    for bytes in [
        &request[..],
        b"PROXY TCP4 192.0.2.7",
        b"PROXY TCP9 x\r\n",
        b"\r\n\r\n\0\r\nQUI",
    ] {
        let mut client = server.client();
        client.send(bytes).expect("it is sent");
        let rest = client.rest().expect("it is closed");
        assert_eq!(rest, b"", "{bytes:?}");
    }
    server.wait_entry("request refused", |entry| {
        entry["reason"] == "a trusted proxy sent no header of the PROXY protocol"
    });
    server.wait_entry("request refused", |entry| {
        entry["reason"] == "its connection was not ready in time"
    });
}

#[test]
fn a_header_before_tls() {
    const PLACE: &str = "--listen https://127.0.0.1:0";
    let folder = Folder::new();
    let pair = Door::Tls.flags(folder.path(), PLACE).join(" ");
    let flags = format!("--workers 1 {PLACE} {pair} --trusted-proxy 127.0.0.1 --proxy-protocol");
    let server = component(&worker(TELLS), folder, &flags);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    let mut client = Client::passed_on(server.tls_address(), header);
    let named = ("192.0.2.7:4711".to_owned(), "https");
    assert_eq!(told(&client.get("/")), named);
    // The connection is that client's to its end.
    assert_eq!(told(&client.get("/")), named);
}

#[test]
fn whoever_connects_to_a_unix_socket() {
    let named = [("x-forwarded-for", "192.0.2.7")];
    for (trusted, client) in [("unix", "192.0.2.7:0"), ("127.0.0.1", "unix:")] {
        let folder = Folder::new();
        let place = folder.path().join("socket").display().to_string();
        let flags = format!("--workers 1 --listen unix:{place} --trusted-proxy {trusted}");
        let server = component(&worker(TELLS), folder, &flags);
        let reply = server.request("GET", "/", &named, b"");
        assert_eq!(told(&reply), (client.to_owned(), "http"), "{trusted}");
        // Without the fields, nobody is named.
        assert_eq!(told(&server.get("/")).0, "unix:", "{trusted}");
    }
}

#[test]
fn a_header_over_a_unix_socket() {
    let folder = Folder::new();
    let place = folder.path().join("socket").display().to_string();
    let flags = "--workers 1 --trusted-proxy unix --proxy-protocol";
    let flags = format!("{flags} --listen unix:{place}");
    let server = component(&worker(TELLS), folder, &flags);
    let mut client = server.client();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
    client.send(header).expect("it is sent");
    let named = ("192.0.2.7:4711".to_owned(), "http");
    assert_eq!(told(&client.get("/")), named);
}

#[test]
fn commands_learn_it_too() {
    let server = plain().environ().serve("--trusted-proxy 127.0.0.1");
    let fields = [("forwarded", "for=\"192.0.2.7:4711\";proto=https")];
    let text = server.request("GET", "/", &fields, b"").text();
    for line in [
        "REMOTE_ADDR=192.0.2.7",
        "REMOTE_PORT=4711",
        "HTTPS=on",
        "REQUEST_SCHEME=https",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let text = server.get("/").text();
    assert!(!text.contains("HTTPS="), "{text}");
}

/// A proxy as a program of the system, on a port of its own.
struct Proxy {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Starts the program with this configuration, in which `PORT` is its port and `FOLDER` a
    /// folder. `None` if the program is missing.
    fn start(program: &str, config: &str, arguments: &[&str]) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("its address");
        drop(free);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().display().to_string();
        let config = config
            .replace("PORT", &address.port().to_string())
            .replace("FOLDER", &path);
        let file = folder.path().join("proxy.conf");
        fs::write(&file, config).expect("a configuration");
        let started = Command::new(program)
            .args(arguments)
            .arg(file)
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            untested(&format!("{program} is missing"));
            return None;
        };
        let proxy = Self {
            child,
            address,
            _folder: folder,
        };
        eventually("the proxy listens", || Client::try_connect(address).ok());
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// nginx in front of a host.
fn nginx(host: &str) -> Option<Proxy> {
    let config = format!(
        "daemon off; master_process off; pid FOLDER/pid; error_log FOLDER/error.log;
         events {{ }}
         http {{
           access_log off;
           client_body_temp_path FOLDER/a; proxy_temp_path FOLDER/b; fastcgi_temp_path FOLDER/c;
           uwsgi_temp_path FOLDER/d; scgi_temp_path FOLDER/e;
           server {{
             listen 127.0.0.1:PORT;
             location / {{
               proxy_pass http://{host};
               proxy_http_version 1.1;
               proxy_set_header Host $host;
               proxy_set_header X-Forwarded-For $remote_addr;
               proxy_set_header X-Forwarded-Proto https;
               proxy_set_header Forwarded \"\";
             }}
           }}
         }}"
    );
    Proxy::start("nginx", &config, &["-c"])
}

#[test]
fn behind_nginx() {
    let folder = Folder::new();
    let socket = format!("unix:{}", folder.path().join("host.sock").display());
    let flags = format!(
        "--workers 1 --trusted-proxy 127.0.0.1 --trusted-proxy unix --listen 127.0.0.1:0 --listen {socket}"
    );
    let server = component(&worker(TELLS), folder, &flags);
    for host in [server.address().to_string(), format!("{socket}:")] {
        let Some(proxy) = nginx(&host) else {
            return;
        };
        let mut client = Client::connect(proxy.address);
        // What the client says of itself, the proxy replaces.
        let spoofed = [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.8"),
        ];
        let reply = client.request("GET", "/", &spoofed, b"");
        assert_eq!(told(&reply), ("127.0.0.1:0".to_owned(), "https"), "{host}");
    }
}

#[test]
fn behind_haproxy() {
    for sends in ["send-proxy", "send-proxy-v2"] {
        let server = telling("--trusted-proxy 127.0.0.1 --proxy-protocol");
        let config = format!(
            "defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
listen test
  bind 127.0.0.1:PORT
  server host {} {sends}
",
            server.address()
        );
        let Some(proxy) = Proxy::start("haproxy", &config, &["-db", "-f"]) else {
            return;
        };
        let mut client = Client::connect(proxy.address);
        let own = client.local_address().to_string();
        assert_eq!(told(&client.get("/")), (own, "http"), "{sends}");
    }
}
