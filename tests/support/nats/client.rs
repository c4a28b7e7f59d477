//! A client of NATS's text protocol. It says what no host would say, and hears what hosts say to
//! each other.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::super::PATIENCE;

/// Whoever says nothing for so long is asked again.
const SILENCE: Duration = Duration::from_secs(1);

/// A connection to a server. A thread reads what the server says, and answers its pings.
pub(crate) struct NatsClient {
    stream: Arc<Mutex<TcpStream>>,
    frames: Receiver<Frame>,
    pongs: Receiver<()>,
}

/// One message, as it is on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    /// The bytes of NATS's own headers, if it has some.
    pub(crate) head: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

impl NatsClient {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection to nats-server");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let stream = Arc::new(Mutex::new(stream));
        let ((frame, frames), (pong, pongs)) = (channel(), channel());
        thread::spawn({
            let stream = Arc::clone(&stream);
            move || listen(reader, &stream, &frame, &pong)
        });
        let client = Self {
            stream,
            frames,
            pongs,
        };
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        client.say(format!("CONNECT {options}\r\n").as_bytes());
        client.flush();
        client
    }

    /// Hears all messages with this subject from now on. Wildcards are allowed.
    pub(crate) fn subscribe(&self, subject: &str) {
        self.say(format!("SUB {subject} 1\r\n").as_bytes());
        self.flush();
    }

    pub(crate) fn publish(&self, subject: &str, payload: &[u8]) {
        self.send(&Frame {
            subject: subject.to_owned(),
            reply: None,
            head: Vec::new(),
            payload: payload.to_owned(),
        });
    }

    /// Publishes a message with all that belongs to it.
    pub(crate) fn send(&self, frame: &Frame) {
        let Frame {
            subject,
            reply,
            head,
            payload,
        } = frame;
        let reply = reply.as_deref().unwrap_or_default();
        let total = head.len() + payload.len();
        let line = if head.is_empty() {
            format!("PUB {subject} {reply} {total}\r\n")
        } else {
            format!("HPUB {subject} {reply} {} {total}\r\n", head.len())
        };
        self.say(&[line.as_bytes(), head, payload, b"\r\n"].concat());
    }

    /// The answer to a message with this subject. `None` if nobody listens there, or nobody says
    /// anything. Without another subscription, no other message is taken for the answer.
    pub(crate) fn request(&self, subject: &str, payload: &[u8]) -> Option<Frame> {
        const INBOX: &str = "_INBOX.test";
        self.say(format!("SUB {INBOX} 2\r\n").as_bytes());
        self.send(&Frame {
            subject: subject.to_owned(),
            reply: Some(INBOX.to_owned()),
            head: Vec::new(),
            payload: payload.to_owned(),
        });
        let answer = self.frames.recv_timeout(SILENCE).ok()?;
        self.say(b"UNSUB 2\r\n");
        (!answer.head.starts_with(b"NATS/1.0 503")).then_some(answer)
    }

    /// Waits until the server has had everything that was sent, and this has heard what it said
    /// before.
    pub(crate) fn flush(&self) {
        self.say(b"PING\r\n");
        let pong = self.pongs.recv_timeout(PATIENCE);
        pong.expect("nats-server answers a ping");
    }

    /// The next message of the subscription.
    pub(crate) fn next(&self) -> Frame {
        let frame = self.frames.recv_timeout(PATIENCE);
        frame.expect("a message on the subscription")
    }

    /// The next message of the subscription, however late it is. `None` once the server has ended.
    pub(crate) fn wait(&self) -> Option<Frame> {
        self.frames.recv().ok()
    }

    /// All messages of the subscription that have come and were not taken.
    pub(crate) fn all(&self) -> Vec<Frame> {
        self.flush();
        self.frames.try_iter().collect()
    }

    fn say(&self, bytes: &[u8]) {
        say(&self.stream, bytes).expect("nats-server listens");
    }
}

impl Drop for NatsClient {
    fn drop(&mut self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // Ends the thread that reads.
        let _closed = stream.shutdown(Shutdown::Both);
    }
}

fn say(stream: &Mutex<TcpStream>, bytes: &[u8]) -> io::Result<()> {
    let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(bytes)
}

/// Reads until the connection ends. What is asked for after that is waited for in vain.
fn listen(
    mut reader: BufReader<TcpStream>,
    stream: &Mutex<TcpStream>,
    frames: &Sender<Frame>,
    pongs: &Sender<()>,
) {
    let mut line = String::new();
    while matches!(reader.read_line(&mut line), Ok(1..)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let heard = match words.as_slice() {
            ["PING"] => say(stream, b"PONG\r\n").is_ok(),
            // Whoever listens may be gone.
            ["PONG"] => pongs.send(()).is_ok(),
            ["MSG", subject, _, rest @ .., length] => {
                let frame = frame(&mut reader, subject, rest.first(), "0", length);
                frames.send(frame).is_ok()
            }
            ["HMSG", subject, _, rest @ .., head, length] => {
                let frame = frame(&mut reader, subject, rest.first(), head, length);
                frames.send(frame).is_ok()
            }
            ["INFO", ..] | ["+OK"] => true,
            _ => {
                eprintln!("nats-server says: {line}");
                true
            }
        };
        if !heard {
            return;
        }
        line.clear();
    }
}

fn frame(
    reader: &mut impl Read,
    subject: &str,
    reply: Option<&&str>,
    head: &str,
    length: &str,
) -> Frame {
    let number = |text: &str| text.parse::<usize>().expect("a length");
    let mut bytes = vec![0; number(length) + 2];
    reader.read_exact(&mut bytes).expect("a whole message");
    bytes.truncate(number(length));
    let payload = bytes.split_off(number(head));
    Frame {
        subject: subject.to_owned(),
        reply: reply.map(|reply| (*reply).to_owned()),
        head: bytes,
        payload,
    }
}
