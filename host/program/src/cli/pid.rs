//! A *pid* as people write it: a number, and for a process of one host among many, the number of
//! its host in front: `3.17` is the process 17 of the host 3.

use std::fmt;
use std::str::FromStr;

/// The bits of a pid that tell the processes of one host from each other. Those above are the
/// number of the host, which is 0 if it is alone.
const SERIAL_BITS: u32 = 44;

/// The bits of a host's number.
const HOST_BITS: u32 = u64::BITS - SERIAL_BITS;

/// The number of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pid(pub(crate) u64);

impl Pid {
    /// The number of its host.
    fn host(self) -> u64 {
        self.0 >> SERIAL_BITS
    }

    /// What tells it from the other processes of its host.
    pub(crate) fn serial(self) -> u64 {
        self.0 & ((1 << SERIAL_BITS) - 1)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host() {
            0 => write!(f, "{}", self.0),
            host => write!(f, "{host}.{}", self.serial()),
        }
    }
}

impl FromStr for Pid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "give a pid as `ps` shows it, such as 17, or 3.17 in a cluster";
        let number = |text: &str| text.parse::<u64>().map_err(|_| FORM);
        let Some((host, serial)) = text.split_once('.') else {
            return number(text).map(Self);
        };
        let (host, serial) = (number(host)?, number(serial)?);
        if host >> HOST_BITS != 0 || serial >> SERIAL_BITS != 0 {
            return Err(FORM);
        }
        Ok(Self((host << SERIAL_BITS) | serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_given() {
        for (pid, shown) in [
            (1, "1"),
            ((1 << 44) - 1, "17592186044415"),
            ((3 << 44) | 17, "3.17"),
            (u64::MAX, "1048575.17592186044415"),
        ] {
            assert_eq!(Pid(pid).to_string(), shown);
            assert_eq!(shown.parse::<Pid>(), Ok(Pid(pid)));
        }
        assert_eq!("52776558133265".parse::<Pid>(), Ok(Pid((3 << 44) | 17)));
        for text in [
            "",
            "x",
            "-1",
            "3.",
            ".17",
            "3.1.7",
            "1048576.1",
            "0.17592186044416",
        ] {
            assert!(text.parse::<Pid>().is_err(), "{text}");
        }
    }
}
