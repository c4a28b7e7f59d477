//! Reads and writes HTTP's dates (RFC 9110, 5.6.7), in seconds since 1970. Crates for this need
//! `std`, and with it half of WASI.

/// The first second of the year 10000, whose name has a digit too many.
const TOO_LATE: u64 = 253_402_300_800;

const DAY: u64 = 24 * 60 * 60;

const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `Sun, 06 Nov 1994 08:49:37 GMT`; none for times that HTTP can't write.
///
/// ```
/// use wasm_pool_static::date;
///
/// assert_eq!(date::write(784_111_777), Some(*b"Sun, 06 Nov 1994 08:49:37 GMT"));
/// ```
pub fn write(seconds: u64) -> Option<[u8; 29]> {
    if seconds >= TOO_LATE {
        return None;
    }
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (year, month, day) = civil(days);
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..3].copy_from_slice(WEEKDAYS[(days % 7) as usize]);
    two_digits(&mut date[5..7], day);
    date[8..11].copy_from_slice(MONTHS[month as usize - 1].as_bytes());
    two_digits(&mut date[12..14], year / 100);
    two_digits(&mut date[14..16], year % 100);
    two_digits(&mut date[17..19], second / 3600);
    two_digits(&mut date[20..22], second / 60 % 60);
    two_digits(&mut date[23..25], second % 60);
    Some(date)
}

/// The seconds since 1970 of a date in any of the three forms that a server must accept.
///
/// ```
/// use wasm_pool_static::date;
///
/// assert_eq!(date::read("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
/// ```
pub fn read(date: &str) -> Option<u64> {
    let mut found = date.split([' ', ',', '-']).filter(|word| !word.is_empty());
    let words = [(); 6].map(|()| found.next().unwrap_or_default());
    if found.next().is_some() {
        return None;
    }
    let (day, month, year, time) = match words {
        [_, day, month, year, time, "GMT"] => (day, month, year, time),
        [_, month, day, time, year, ""] => (day, month, year, time), // of C's `asctime`
        _ => return None,
    };
    let year = match (number(year)?, year.len()) {
        (year, 4) => year,
        (year @ 70.., 2) => 1900 + year, // of RFC 850; nobody has written it for decades
        (year, 2) => 2000 + year,
        _ => return None,
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let days = days(year, month, number(day)?)?;
    let mut fields = time.split(':').map(number);
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    // A leap second is a second too.
    if fields.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

fn two_digits(place: &mut [u8], number: u64) {
    place.copy_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

fn number(digits: &str) -> Option<u64> {
    let is_short =
        (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_short.then(|| {
        digits
            .bytes()
            .fold(0, |number, byte| number * 10 + u64::from(byte - b'0'))
    })
}

/// Days of 400 years, after which the calendar repeats itself.
const ERA: u64 = 146_097;

/// From the first of March of the year 0, where eras begin so that a leap day is the last of its
/// year, to 1970.
const EPOCH: u64 = 719_468;

/// Year, month and day of the day that is so many after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // from March
    let first = (153 * month + 2) / 5;
    let (month, after) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (400 * era + year + after, month, day - first + 1)
}

/// The inverse: none for days that a month doesn't have, and for those before 1970.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let from_march = (month + 9) % 12;
    let year_from_march = year.checked_sub(u64::from(month < 3))?;
    let (era, in_era) = (year_from_march / 400, year_from_march % 400);
    let first = 365 * in_era + in_era / 4 - in_era / 100 + (153 * from_march + 2) / 5;
    let days = (era * ERA + first + day.checked_sub(1)?).checked_sub(EPOCH)?;
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const THEN: u64 = 784_111_777;

    #[test]
    fn dates_are_those_of_a_library() {
        // Steps of a prime number of seconds, so that all fields take all values; to the year 9999.
        for seconds in (0..TOO_LATE).step_by(86_028_121) {
            let date = write(seconds).expect("before the year 10000");
            let date = std::str::from_utf8(&date).expect("ASCII");
            let same = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(date, same);
            assert_eq!(read(date), Some(seconds));
        }
        assert_eq!(write(TOO_LATE), None);
        assert_eq!(write(u64::MAX), None);
    }

    #[test]
    fn every_day_of_an_era_is_read_as_it_is_written() {
        for day in 0..=ERA {
            let date = write(day * DAY).expect("before the year 10000");
            assert_eq!(
                read(std::str::from_utf8(&date).expect("ASCII")),
                Some(day * DAY)
            );
        }
    }

    #[test]
    fn all_three_forms_are_read() {
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(THEN));
        assert_eq!(read("Sunday, 06-Nov-94 08:49:37 GMT"), Some(THEN));
        assert_eq!(read("Sun Nov  6 08:49:37 1994"), Some(THEN));
        assert_eq!(read("Friday, 01-Jan-38 00:00:00 GMT"), Some(2_145_916_800));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994 +8:49:37 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sat, 01 Jan 0000 00:00:00 GMT",
            "Sat Jan 1 1994",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
