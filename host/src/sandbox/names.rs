//! The names of a module's functions are the one part of it beside its code that the host keeps,
//! for backtraces. At each trap they are copied, one for each frame, whatever their length: so a
//! module's names are all forgotten where one of them is absurdly long.

/// Names of Rust's generic functions have some hundred bytes, the longest seen some thousand.
const MAX_NAME_BYTES: usize = 64 << 10;

/// How a core module and a component begin. The second half says which it is.
const HEADER_BYTES: usize = 8;
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// What sections are called by number: custom ones in both, and what else a component consists of.
const CUSTOM: u8 = 0;
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;

/// The section that has the names, and the part of it that has those of functions.
const NAMES: &[u8] = b"name";
const FUNCTIONS: u8 = 1;

/// What it is called where nobody shall find it.
const FORGOTTEN: &[u8; NAMES.len()] = b"long";

/// Bytes that are read from the front. What is malformed ends early: the compiler says what is
/// wrong with it.
struct Reader<'a>(&'a mut [u8]);

/// Renames each section of names in this binary that has one that is too long.
pub(super) fn forget_long(binary: &mut [u8]) {
    let mut unread = vec![binary];
    while let Some(binary) = unread.pop() {
        let is_module = binary.starts_with(MODULE);
        let Some(sections) = binary.get_mut(HEADER_BYTES..) else {
            continue;
        };
        let mut sections = Reader(sections);
        while let Some((kind, content)) = sections.part() {
            match kind {
                CUSTOM if is_module => forget(content),
                CORE_MODULE | COMPONENT if !is_module => unread.push(content),
                _ => {}
            }
        }
    }
}

/// Renames this custom section if it has too long a name of a function.
fn forget(section: &mut [u8]) {
    let mut content = Reader(section);
    let Some(title) = content.bytes() else {
        return;
    };
    if title == NAMES && content.has_long_name().unwrap_or(false) {
        title.copy_from_slice(FORGOTTEN);
    }
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a mut [u8]> {
        let all = std::mem::take(&mut self.0);
        let (taken, rest) = all.split_at_mut_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number in LEB128, of 32 bits at most.
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

    /// A length, and so many bytes.
    fn bytes(&mut self) -> Option<&'a mut [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    /// A section or a part of one: its kind and what is in it.
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
