//! What stands in the place of `elsewhere` where this library was built without clusters: nothing
//! that could be.

use std::time::Duration;

use super::Reading;
use crate::guests::{Guests, Trace, Unanswered};
use crate::message::{Request, Response};

/// There is none.
#[derive(Debug)]
pub(crate) enum Elsewhere {}

impl Elsewhere {
    pub(super) fn is_front(&self) -> bool {
        match *self {}
    }

    pub(super) fn count(&self) {
        match *self {}
    }

    pub(super) fn reading(&self, _patience: Duration) -> Reading {
        match *self {}
    }

    pub(super) async fn ask(
        &self,
        _request: &mut Request,
        _guests: Option<&Guests>,
        _trace: &mut Trace,
    ) -> Option<Result<Response, Unanswered>> {
        match *self {}
    }
}
