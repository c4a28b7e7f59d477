//! A *sparse* file is as large as a test wants, and takes no room on the disk. In one of a gibibyte
//! a few marks tell whether each byte comes from its place.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Client, Folder};

const GIB: u64 = 1 << 30;

/// What stands in the file of a gibibyte, and where. Everything else is zero.
const MARKS: [(u64, &[u8]); 3] = [(0, b"first"), (GIB / 2 - 3, b"middle"), (GIB - 4, b"last")];

/// Creates a sparse file of this size.
pub(crate) fn create(path: &Path, size: u64) -> File {
    let file = File::create(path).and_then(|file| file.set_len(size).map(|()| file));
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A folder with a file `gibibyte`.
pub(crate) fn gibibyte() -> Folder {
    let folder = Folder::new();
    let file = create(&folder.root().join("gibibyte"), GIB);
    for (offset, mark) in MARKS {
        file.write_all_at(mark, offset).expect("a mark in it");
    }
    folder
}

/// Reads the file `gibibyte`, and keeps nothing of it.
///
/// # Panics
/// If one byte is not what it should be.
pub(crate) fn read_gibibyte(client: &mut Client) {
    client.ask("GET", "/gibibyte", b"");
    let head = client.head().expect("a head");
    assert_eq!(head.field("content-length"), Some(&*GIB.to_string()));
    let (mut offset, mut found) = (0, Vec::new());
    let body = client.body("GET", &head, |piece| {
        if piece.iter().any(|byte| *byte != 0) {
            let marked = piece.iter().enumerate().filter(|(_, byte)| **byte != 0);
            found.extend(marked.map(|(at, byte)| (offset + at as u64, *byte)));
        }
        offset += piece.len() as u64;
    });
    body.expect("the whole body");
    assert_eq!(offset, GIB);
    let marked = MARKS
        .iter()
        .flat_map(|(at, mark)| (*at..).zip(mark.to_vec()));
    assert_eq!(found, marked.collect::<Vec<_>>());
}
