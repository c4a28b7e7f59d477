//! The `date` of responses. If the clock is set back, hyper's own date would stand still until the
//! clock has caught up. This one is right again with the next response.

use std::cell::RefCell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::HeaderValue;

/// The date, written once a second per thread.
struct Cache {
    /// Since 1970.
    second: u64,
    value: HeaderValue,
}

impl Cache {
    fn at(&mut self, now: SystemTime) -> HeaderValue {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            *self = Self::of(second);
        }
        self.value.clone()
    }

    fn of(second: u64) -> Self {
        // The format has four digits for the year. No clock shows a later one.
        const LAST_SECOND: u64 = 253_402_300_799;
        let time = UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND));
        let value = HeaderValue::try_from(httpdate::fmt_http_date(time));
        Self {
            second,
            value: value.unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }
}

/// The time of the system's clock.
pub(super) fn now() -> HeaderValue {
    thread_local! {
        static CACHE: RefCell<Cache> = RefCell::new(Cache::of(0));
    }
    CACHE.with_borrow_mut(|cache| cache.at(SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_sets_the_date_back() {
        let mut cache = Cache::of(0);
        let mut at = |second| cache.at(UNIX_EPOCH + Duration::from_secs(second));
        assert_eq!(at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(784_108_178), "Sun, 06 Nov 1994 07:49:38 GMT");
        assert_eq!(
            at(u64::from(u32::MAX) * 1000),
            "Fri, 31 Dec 9999 23:59:59 GMT"
        );
        assert_eq!(
            cache.at(UNIX_EPOCH - Duration::from_secs(1)),
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }
}
