//! The name of an *interface*, such as `wasi:http/types@0.2.3`, and the release of WASI that it is
//! from.

/// The name of an interface, in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface<'a> {
    pub(super) namespace: &'a str,
    pub(super) package: &'a str,
    pub(super) name: &'a str,
    version: Option<&'a str>,
}

/// The release of WASI that a version belongs to. Versions of one release fit each other, newer and
/// older alike. A draft fits only itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Release {
    Wasi02,
    Wasi03,
    Draft,
    Other,
}

impl<'a> Interface<'a> {
    /// The parts of this name, if it is the name of an interface.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (namespace, rest) = text.split_once(':')?;
        let (package, rest) = rest.split_once('/')?;
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (rest, None),
        };
        Some(Self {
            namespace,
            package,
            name,
            version,
        })
    }

    pub(super) fn release(&self) -> Release {
        let version = self.version.unwrap_or_default();
        let version = version.split('+').next().unwrap_or_default();
        if version.contains('-') {
            return Release::Draft;
        }
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match version.split('.').collect::<Vec<_>>()[..] {
            ["0", "2", patch] if is_number(patch) => Release::Wasi02,
            ["0", "3", patch] if is_number(patch) => Release::Wasi03,
            _ => Release::Other,
        }
    }

    /// Whether this is an interface of WASI with this package and name, of whatever version.
    pub(super) fn is_wasi(&self, package: &str, name: &str) -> bool {
        (self.namespace, self.package, self.name) == ("wasi", package, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        #[rustfmt::skip] // one line per case
        let cases = [
            ("wasi:http/types@0.2.0", Some(Release::Wasi02)),
            ("wasi:http/types@0.2.12", Some(Release::Wasi02)),
            ("wasi:http/types@0.2.3+build", Some(Release::Wasi02)),
            ("wasi:http/types@0.3.0", Some(Release::Wasi03)),
            ("wasi:http/types@0.3.2", Some(Release::Wasi03)),
            ("wasi:http/types@0.3.0-rc-2026-03-15", Some(Release::Draft)),
            ("wasi:http/types@0.2.0-rc-2023-11-10", Some(Release::Draft)),
            ("wasi:http/types@0.2", Some(Release::Other)),
            ("wasi:http/types@0.2.", Some(Release::Other)),
            ("wasi:http/types@0.4.0", Some(Release::Other)),
            ("wasi:http/types@1.0.0", Some(Release::Other)),
            ("wasi:http/types", Some(Release::Other)),
            ("wasi:http", None),
            ("handle", None),
            ("", None),
        ];
        for (name, release) in cases {
            let found = Interface::parse(name).map(|interface| interface.release());
            assert_eq!(found, release, "{name}");
        }
    }
}
