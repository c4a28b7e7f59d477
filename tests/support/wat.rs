//! Components written as text, for guests that no compiler would produce.

/// The parts of a worker. `worker.wat` defines the memory layout.
#[derive(Default)]
pub(crate) struct Worker<'a> {
    /// Further imports of the component.
    pub(crate) imports: &'a str,
    /// Functions of these imports, lowered, in a core instance `$extra`. `fields` may import them
    /// from there.
    pub(crate) lowered: &'a str,
    /// Further fields of the core module.
    pub(crate) fields: &'a str,
    /// The code that runs for each request, before it returns the response at 1024.
    pub(crate) handle: &'a str,
}

impl Worker<'_> {
    pub(crate) fn text(&self) -> String {
        let lowered = match self.lowered {
            "" => "(core instance $extra)",
            lowered => lowered,
        };
        include_str!("worker.wat")
            .replace("VERSION", contract_version())
            .replacen("  IMPORTS\n", self.imports, 1)
            .replacen("  LOWERED\n", lowered, 1)
            .replacen("    FIELDS\n", self.fields, 1)
            .replacen("      HANDLE\n", self.handle, 1)
    }
}

/// The version of the contract in `wit/`.
pub(crate) fn contract_version() -> &'static str {
    let mut lines = include_str!("../../wit/worker.wit").lines();
    let version = lines.find_map(|line| line.strip_prefix("package wasm-pool:worker@"));
    let version = version.and_then(|version| version.strip_suffix(';'));
    version.expect("the contract names its package")
}

/// The name of an interface of the contract, as in components.
pub(crate) fn interface(name: &str) -> String {
    format!("wasm-pool:worker/{name}@{}", contract_version())
}

/// A worker that runs only this code for each request.
pub(crate) fn worker(handle: &str) -> String {
    worker_with("", handle)
}

/// A worker with more fields in its core module: globals, functions, memories, data.
pub(crate) fn worker_with(fields: &str, handle: &str) -> String {
    Worker {
        fields,
        handle,
        ..Worker::default()
    }
    .text()
}

/// A component that takes longer to compile than any test lasts: a function of many nested loops.
pub(crate) fn slow() -> String {
    let nest = format!(
        "{}{}",
        "(loop (br_if 0 (local.get 0))".repeat(100),
        ")".repeat(100)
    );
    let body = nest.repeat(400);
    format!(
        r#"(component
          (core module $module (func (param i32) {body}) (func (export "run")))
          (core instance $instance (instantiate $module))
          (func (export "run") (canon lift (core func $instance "run"))))"#
    )
}

/// Opens the path in the request's body, unchanged, and answers with the file. On an error, answers
/// with `404` and the number of the error code as a letter, `a` for the first.
pub(crate) const OPENER: &str = "
    (call $open (local.get $body) (local.get $body-length) (i32.const 2048))
    (if (i32.load8_u (i32.const 2048))
      (then
        (i32.store16 (i32.const 1024) (i32.const 404))
        (i32.store8 (i32.const 2100) (i32.add (i32.const 97) (i32.load8_u (i32.const 2056))))
        (i32.store (i32.const 1048) (i32.const 2100))
        (i32.store (i32.const 1052) (i32.const 1)))
      (else
        (i32.store8 (i32.const 1040) (i32.const 1))
        (i32.store (i32.const 1048) (i32.load (i32.const 2056)))
        (i64.store (i32.const 1064) (i64.load (i32.const 2072)))))";

/// Lists the folder in the request's body: the names, one directly after the other. On an error,
/// answers with `404` and the error code as [`OPENER`] does.
pub(crate) const LISTER: &str = "
    (call $read-dir (local.get $body) (local.get $body-length) (i32.const 2048))
    (i32.store (i32.const 1048) (i32.const 4096))
    (if (i32.load8_u (i32.const 2048))
      (then
        (i32.store16 (i32.const 1024) (i32.const 404))
        (i32.store8 (i32.const 4096) (i32.add (i32.const 97) (i32.load8_u (i32.const 2052))))
        (i32.store (i32.const 1052) (i32.const 1)))
      (else
        (local.set $at (i32.load (i32.const 2052)))
        (local.set $end (i32.add (local.get $at) (i32.mul (i32.const 12) (i32.load (i32.const 2056)))))
        (local.set $out (i32.const 4096))
        (block $done (loop $next
          (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
          (memory.copy (local.get $out) (i32.load (local.get $at)) (i32.load offset=4 (local.get $at)))
          (local.set $out (i32.add (local.get $out) (i32.load offset=4 (local.get $at))))
          (local.set $at (i32.add (local.get $at) (i32.const 12)))
          (br $next)))
        (i32.store (i32.const 1052) (i32.sub (local.get $out) (i32.const 4096)))))";

/// A program that traps, with these fields in its core module.
pub(crate) fn trapping_program(fields: &str) -> String {
    format!(
        r#"(component
          (core module $module {fields} (func (export "run") unreachable))
          (core instance $instance (instantiate $module))
          (func (export "run") (canon lift (core func $instance "run"))))"#
    )
}

/// Custom sections of a core module: debug information of one function, with scopes nested this
/// deep.
pub(crate) fn nested_debug_information(depth: usize) -> String {
    // DWARF 4: the abbreviations of a unit, a function and an inlined function. The unit and the
    // function cover all addresses.
    const ABBREVIATIONS: &[u8] = &[
        1, 0x11, 1, 0x11, 1, 0x12, 6, 0, 0, //
        2, 0x2e, 1, 0x11, 1, 0x12, 6, 0, 0, //
        3, 0x1d, 1, 0, 0, 0,
    ];
    const ADDRESSES: [u8; 8] = [0, 0, 0, 0, 0xff, 0xff, 0, 0];
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4];
    for kind in [1, 2] {
        unit.push(kind);
        unit.extend(ADDRESSES);
    }
    unit.resize(unit.len() + depth, 3);
    unit.resize(unit.len() + depth + 2, 0);
    let length = u32::try_from(unit.len()).expect("a small unit");
    let section = |name: &str, bytes: &[u8]| {
        let bytes: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        format!("(@custom \".debug_{name}\" \"{bytes}\")")
    };
    let information = [&length.to_le_bytes(), &*unit].concat();
    section("abbrev", ABBREVIATIONS) + &section("info", &information)
}

/// The name of a C++ function. Its parameters' types double in size this many times.
pub(crate) fn doubling_cpp_name(times: usize) -> String {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let pair = |digit: &u8| format!("S_IS{0}_S{0}_E", char::from(*digit));
    let pairs: String = DIGITS.iter().take(times).map(pair).collect();
    format!("_Z1f1aIiiE{pairs}")
}

/// The name of a Rust function. Its parameters' types double in size this many times.
pub(crate) fn doubling_rust_name(times: usize) -> String {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut name = "INvC1a1f".to_owned();
    let mut last = name.len();
    name += "TuuE";
    for _ in 0..times {
        let (high, low) = ((last - 1) / DIGITS.len(), (last - 1) % DIGITS.len());
        let high = if high > 0 { &DIGITS[high..=high] } else { &[] };
        let back = String::from_utf8_lossy(&[high, &[DIGITS[low]]].concat()).into_owned();
        last = name.len();
        name += &format!("TB{back}_B{back}_E");
    }
    format!("_R{name}E")
}
