//! Drops the function names of a module if one of them is absurdly long. Beside the code, names are
//! the only part of a module that the host keeps, for backtraces. At each trap the host copies one
//! name per frame, whatever its length.

/// Names of Rust's generic functions have some hundred bytes, and the longest seen some thousand.
const MAX_NAME_BYTES: usize = 64 << 10;

/// The preamble of a core module and of a component. The second half tells them apart.
const HEADER_BYTES: usize = 8;
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Numbers of sections: custom sections, which both formats have, and the sections of a component
/// that contain further modules.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// The custom section with names, and its part with the names of functions.
const NAMES: &[u8] = b"name";
const FUNCTIONS: u8 = 1;

/// The new title of a section whose names are dropped.
const DROPPED: &[u8; NAMES.len()] = b"long";

/// Reads bytes from the front. Malformed input ends early, and the compiler reports it later.
struct Reader<'a>(&'a mut [u8]);

/// Retitles each section of names in this binary that contains too long a name.
pub(super) fn drop_long_names(binary: &mut [u8]) {
    let mut unread = vec![binary];
    while let Some(binary) = unread.pop() {
        let is_module = binary.starts_with(MODULE);
        let Some(sections) = binary.get_mut(HEADER_BYTES..) else {
            continue;
        };
        let mut sections = Reader(sections);
        while let Some((kind, content)) = sections.part() {
            match kind {
                CUSTOM if is_module => drop_if_long(content),
                CORE_MODULE | COMPONENT if !is_module => unread.push(content),
                _ => {}
            }
        }
    }
}

/// Retitles this custom section if it has too long a name of a function.
fn drop_if_long(section: &mut [u8]) {
    let mut content = Reader(section);
    let Some(title) = content.bytes() else {
        return;
    };
    if title == NAMES && content.has_long_name().unwrap_or(false) {
        title.copy_from_slice(DROPPED);
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let all = std::mem::take(&mut self.0);
        let (taken, rest) = all.split_at_mut_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number in LEB128, of at most 32 bits.
    fn number(&mut self) -> Option<usize> {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return usize::try_from(number).ok();
            }
        }
        None
    }

    /// A length, followed by that many bytes.
    fn bytes(&mut self) -> Option<&'a mut [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    /// The kind and the content of a section, or of a part of one.
    fn part(&mut self) -> Option<(u8, &'a mut [u8])> {
        let kind = self.take(1)?[0];
        Some((kind, self.bytes()?))
    }

    fn has_long_name(&mut self) -> Option<bool> {
        while !self.0.is_empty() {
            let (kind, content) = self.part()?;
            let mut names = Reader(content);
            if kind != FUNCTIONS {
                continue;
            }
            for _ in 0..names.number()? {
                let _function = names.number()?;
                if names.bytes()?.len() > MAX_NAME_BYTES {
                    return Some(true);
                }
            }
        }
        Some(false)
    }
}
