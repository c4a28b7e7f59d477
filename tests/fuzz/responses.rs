//! Any response of a guest: the client gets it unchanged, or gets `502`, and never a mixture.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::fuzz;
use crate::support::server::guest;

/// Fields with a meaning to the host or to clients.
const NAMES: &[&str] = &[
    "content-type",
    "Content-Length",
    "content-length",
    "x-a",
    "X-A",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-connection",
    "date",
    "server",
    "set-cookie",
    "",
    " ",
    "a b",
    "a:b",
    "é",
    "x\r\ny",
    "x\0",
];

/// A field value that could end its line or its head, or be a length.
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "4",
    "00000000000000000004",
    "18446744073709551616",
    "-1",
    "4, 4",
    "text/plain",
    "chunked",
    "close",
    "a\r\nb: c",
    "a\nb",
    "a\rb",
    "\0",
    "\t a \t",
    "é",
    "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
];

#[derive(Clone, Debug)]
struct Told {
    method: &'static str,
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

#[test]
fn any_response_arrives_whole_or_not_at_all() {
    let server = guest("mirror", "--workers 2 --log-level warn");
    let arrived_whole = Cell::new(0);
    fuzz(told(), |told| {
        let mut client = server.client();
        let fields = [("x-mirror", "respond")];
        let reply = client.try_request(told.method, "/", &fields, &told.encoded());
        let reply = reply.map_err(|error| TestCaseError::fail(format!("not HTTP: {error}")))?;
        if reply.status == 502 {
            return Ok(()); // from the host, or from the guest itself
        }
        arrived_whole.set(arrived_whole.get() + 1);
        prop_assert_eq!(reply.status, told.status);
        prop_assert!((200..600).contains(&told.status));
        let has_body = told.method != "HEAD" && ![204, 205, 304].contains(&told.status);
        prop_assert_eq!(&reply.body, if has_body { &told.body } else { &[][..] });
        // The host adds these fields by itself.
        let own = ["content-length", "date", "connection"];
        let arrived = reply
            .fields
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()));
        let sent = told.fields.iter().map(|(name, value)| {
            let value: String = value.iter().map(|byte| char::from(*byte)).collect();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        let mut sent: Vec<_> = sent
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .collect();
        let mut arrived: Vec<_> = arrived.cloned().collect();
        sent.sort();
        arrived.sort();
        prop_assert_eq!(arrived, sent);
        Ok(())
    });
    assert!(arrived_whole.get() > 20, "{}", arrived_whole.get());
    assert_eq!(server.get("/").status, 200);
}

fn told() -> impl Strategy<Value = Told> {
    let status = prop_oneof![
        select(vec![200, 204, 205, 206, 304, 404, 500, 599]),
        any::<u16>()
    ];
    let name = prop_oneof![
        3 => select(NAMES).prop_map(str::to_owned),
        1 => ".{0,8}",
        2 => "[!-~]{1,12}",
    ];
    let value = prop_oneof![
        2 => select(VALUES).prop_map(|value| value.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..16),
        2 => "[ -~]{0,24}".prop_map(String::into_bytes),
    ];
    let method = select(vec!["POST", "HEAD"]);
    let fields = vec((name, value), 0..5);
    (method, status, fields, vec(any::<u8>(), 0..64)).prop_map(|(method, status, fields, body)| {
        Told {
            method,
            status,
            fields,
            body,
        }
    })
}

impl Told {
    /// The form that the mirror reads.
    fn encoded(&self) -> Vec<u8> {
        let number = |number: usize| u16::try_from(number).expect("a small number").to_le_bytes();
        let mut bytes = self.status.to_le_bytes().to_vec();
        bytes.push(u8::try_from(self.fields.len()).expect("a few fields"));
        for (name, value) in &self.fields {
            bytes.extend(number(name.len()));
            bytes.extend(name.bytes());
            bytes.extend(number(value.len()));
            bytes.extend(value);
        }
        bytes.extend(&self.body);
        bytes
    }
}
