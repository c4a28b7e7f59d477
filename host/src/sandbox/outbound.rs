//! *Outbound* is what one process may send to other servers through `wasi:http`. Nothing, unless
//! the user named the server.

use std::sync::Arc;
use std::time::Instant;

use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::state::Common;

/// The most bytes that a guest writes to a body in one call. The host holds one such piece for each
/// body until it is sent.
const PIECE_BYTES: usize = 256 << 10;

/// Connections to other servers of all processes of one module.
#[derive(Debug, Default)]
pub(super) struct Outgoing;

/// The requests of one process.
pub(super) struct Outbound {
    common: Arc<Common>,
    deadline: Option<Instant>,
}

type Worker = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sending =
    Box<dyn Future<Output = Result<(http::Response<WasiBody>, Worker), Error>> + Send>;

impl Outbound {
    pub(super) fn new(common: Arc<Common>) -> Self {
        Self {
            common,
            deadline: None,
        }
    }

    /// Sets when the request must be answered that the process serves now.
    pub(super) fn answer_by(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        _request: http::Request<WasiBody>,
        _options: Option<RequestOptions>,
        _outcome: Worker,
    ) -> Sending {
        let _ = (&self.common, self.deadline);
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE_BYTES
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        PIECE_BYTES
    }
}
