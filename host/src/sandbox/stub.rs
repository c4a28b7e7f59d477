//! A *stub* of a component has its imports, with their types, and no code. Compiling it costs
//! nothing. Linking it tells whether the host's interfaces have the types that the component
//! expects.

use wasmparser::{Parser, Payload};

/// The preamble of a component.
const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// Numbers of the sections that imports are made of.
const ALIASES: u8 = 6;
const TYPES: u8 = 7;
const IMPORTS: u8 = 10;

/// The stub of this component. It is invalid if the imports depend on something else than imports,
/// which no usual tool makes.
pub(super) fn stub(component: &[u8]) -> wasmparser::Result<Vec<u8>> {
    let mut stub = PREAMBLE.to_vec();
    // What comes after the last import is not needed.
    let mut end = stub.len();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        if let Some((number @ (ALIASES | TYPES | IMPORTS), content)) = payload.as_section()
            && depth == 0
        {
            let content = component.get(content).unwrap_or_default();
            stub.push(number);
            push_length(&mut stub, content.len());
            stub.extend_from_slice(content);
            if number == IMPORTS {
                end = stub.len();
            }
        }
        if let Payload::ModuleSection { .. } | Payload::ComponentSection { .. } = payload {
            depth += 1;
        }
        if let Payload::End(_) = payload {
            depth = depth.saturating_sub(1);
        }
    }
    stub.truncate(end);
    Ok(stub)
}

/// A number in LEB128.
fn push_length(stub: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        stub.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    stub.push(length as u8);
}
