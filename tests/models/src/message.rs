//! The part of messages that mailbox and pool use.

use crate::pid::Pid;

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) sender: Pid,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Data {
        #[expect(dead_code, reason = "the mailbox looks at no tag")]
        tag: u64,
        bytes: Vec<u8>,
    },
    #[expect(dead_code, reason = "the mailbox knows it")]
    Request { client: Pid },
}

impl Content {
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Data { bytes, .. } => bytes.len(),
            Self::Request { .. } => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Request;

#[derive(Debug)]
pub(crate) struct Response;
