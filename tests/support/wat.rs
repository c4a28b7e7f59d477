//! Components written as text, for guests that no compiler would let one write.

/// A worker in its parts; `worker.wat` says what lies where.
#[derive(Default)]
pub(crate) struct Worker<'a> {
    /// Further imports of the component.
    pub(crate) imports: &'a str,
    /// Their functions, lowered, in a core instance `$extra`, from which `fields` may import them.
    pub(crate) lowered: &'a str,
    /// Further fields of the core module.
    pub(crate) fields: &'a str,
    /// What it does with a request before it returns the response at 1024.
    pub(crate) handle: &'a str,
}

impl Worker<'_> {
    pub(crate) fn text(&self) -> String {
        let lowered = match self.lowered {
            "" => "(core instance $extra)",
            lowered => lowered,
        };
        include_str!("worker.wat")
            .replacen("  IMPORTS\n", self.imports, 1)
            .replacen("  LOWERED\n", lowered, 1)
            .replacen("    FIELDS\n", self.fields, 1)
            .replacen("      HANDLE\n", self.handle, 1)
    }
}

/// A worker that does just this with a request.
pub(crate) fn worker(handle: &str) -> String {
    worker_with("", handle)
}

/// A worker with more in its core module: globals, functions, memories, data.
pub(crate) fn worker_with(fields: &str, handle: &str) -> String {
    Worker {
        fields,
        handle,
        ..Worker::default()
    }
    .text()
}

/// A component that takes longer to compile than any test takes: a function of many nested loops.
pub(crate) fn slow() -> String {
    let nest = format!(
        "{}{}",
        "(loop (br_if 0 (local.get 0))".repeat(100),
        ")".repeat(100)
    );
    let body = nest.repeat(400);
    format!("(component (core module (func (param i32) {body})))")
}

/// Opens the path in the request's body, just as it stands there, and answers with the file; or with `404`
/// and the number of the error code as a letter, `a` for the first.
pub(crate) const OPENER: &str = "
    (call $open (local.get $body) (local.get $body-length) (i32.const 2048))
    (if (i32.load8_u (i32.const 2048))
      (then
        (i32.store16 (i32.const 1024) (i32.const 404))
        (i32.store8 (i32.const 2100) (i32.add (i32.const 97) (i32.load8_u (i32.const 2052))))
        (i32.store (i32.const 1048) (i32.const 2100))
        (i32.store (i32.const 1052) (i32.const 1)))
      (else
        (call $stat (i32.load (i32.const 2052)) (i32.const 2064))
        (i32.store8 (i32.const 1040) (i32.const 1))
        (i32.store (i32.const 1048) (i32.load (i32.const 2052)))
        (i64.store (i32.const 1064) (i64.load (i32.const 2080)))))";

/// Lists the folder in the request's body: the names, one after the other without anything between; or with
/// `404` and the error code as [`OPENER`] does.
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
