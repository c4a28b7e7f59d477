//! The *kind* of a module says which of its exports the host calls, and so how its processes get
//! their requests.

/// How the processes of a module run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The module exports `handle` of the world `wasm-pool:worker/handler`. A process answers
    /// requests, one after the other.
    Handler,
    /// The module exports `run` of the world `wasm-pool:worker/program`. The process is one of a
    /// program's.
    Program,
    /// The module exports `wasi:http/incoming-handler@0.2`.
    Http02,
    /// The module exports `wasi:http/handler@0.3`.
    Http03,
    /// The module exports `wasi:cli/run@0.2`. A process answers one request, by CGI.
    Command02,
    /// The module exports `wasi:cli/run@0.3`. A process answers one request, by CGI.
    Command03,
    /// The module is a core module for WASI 0.1 that exports `_start`. A process answers one
    /// request, by CGI.
    CommandCore,
}

/// Whether a process may serve a second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reusable {
    /// As soon as it has answered the first.
    Always,
    /// If its user says so.
    OnRequest,
    /// Never: it ends when it has answered.
    Never,
}

impl Kind {
    /// The kinds of components. Where several fit, the first counts.
    pub(crate) const OF_COMPONENTS: [Self; 6] = [
        Self::Handler,
        Self::Program,
        Self::Http03,
        Self::Http02,
        Self::Command02,
        Self::Command03,
    ];

    /// The kind in a few words.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Handler => "a handler: it exports `handle` of the contract",
            Self::Program => "a program: it exports `run` of the contract",
            Self::Http02 => "an HTTP handler for WASI 0.2",
            Self::Http03 => "an HTTP handler for WASI 0.3",
            Self::Command02 => "a command for WASI 0.2",
            Self::Command03 => "a command for WASI 0.3",
            Self::CommandCore => "a command for WASI 0.1: a core module with `_start`",
        }
    }

    /// The export that makes a module one of this kind.
    #[must_use]
    pub fn export(self) -> &'static str {
        match self {
            Self::Handler => "handle",
            Self::Program => "run",
            Self::Http02 => "wasi:http/incoming-handler@0.2",
            Self::Http03 => "wasi:http/handler@0.3",
            Self::Command02 => "wasi:cli/run@0.2",
            Self::Command03 => "wasi:cli/run@0.3",
            Self::CommandCore => "_start",
        }
    }

    /// Whether the module is a command: it can be run by itself, and answers requests by CGI.
    #[must_use]
    pub fn is_command(self) -> bool {
        match self {
            Self::Command02 | Self::Command03 | Self::CommandCore => true,
            Self::Handler | Self::Program | Self::Http02 | Self::Http03 => false,
        }
    }

    /// Whether the processes stand in a pool. Those of a program start and end each other.
    #[must_use]
    pub fn is_pooled(self) -> bool {
        self != Self::Program
    }

    /// Whether processes take request bodies as streams. The others get them whole.
    pub(crate) fn takes_streams(self) -> bool {
        match self {
            Self::Http02 | Self::Http03 => true,
            Self::Handler
            | Self::Program
            | Self::Command02
            | Self::Command03
            | Self::CommandCore => false,
        }
    }

    pub(crate) fn reusable(self) -> Reusable {
        match self {
            Self::Handler | Self::Program | Self::Http03 => Reusable::Always,
            // Guests made from JavaScript can't serve a second request.
            Self::Http02 => Reusable::OnRequest,
            Self::Command02 | Self::Command03 | Self::CommandCore => Reusable::Never,
        }
    }
}
