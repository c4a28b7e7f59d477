;; A command for WASI 0.1. Memory: 0 to 0x10000 buffers of calls, among them an `iovec` at 16 and a
;; number at 32; 0x10000 to 0x20000 what was read; 0x100000 texts; 0x200000 variables and arguments.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get"
    (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (memory (export "memory") 64)
  (data DATA)

  ;; A call that fails ends the command with this code.
  (func $must (param $errno i32)
    (if (local.get $errno) (then (call $exit (i32.const 111)))))

  (func $write (param $fd i32) (param $at i32) (param $length i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $length))
    (call $must
      (call $fd_write (local.get $fd) (i32.const 16) (i32.const 1) (i32.const 32))))

  (func $echo
    (loop $again
      (i32.store (i32.const 16) (i32.const 0x10000))
      (i32.store (i32.const 20) (i32.const 0x10000))
      (call $must (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 32)))
      (if (i32.load (i32.const 32))
        (then
          (call $write (i32.const 1) (i32.const 0x10000) (i32.load (i32.const 32)))
          (br $again)))))

  ;; Prints strings that end with NUL.
  (func $lines (param $length i32)
    (local $at i32)
    (loop $next
      (if (i32.lt_u (local.get $at) (local.get $length))
        (then
          (if (i32.eqz (i32.load8_u offset=0x280000 (local.get $at)))
            (then (i32.store8 offset=0x280000 (local.get $at) (i32.const 10))))
          (local.set $at (i32.add (local.get $at) (i32.const 1)))
          (br $next))))
    (call $write (i32.const 1) (i32.const 0x280000) (local.get $length)))

  (func $environ
    (call $must (call $environ_sizes_get (i32.const 40) (i32.const 44)))
    (call $must (call $environ_get (i32.const 0x200000) (i32.const 0x280000)))
    (call $lines (i32.load (i32.const 44))))

  (func $args
    (call $must (call $args_sizes_get (i32.const 40) (i32.const 44)))
    (call $must (call $args_get (i32.const 0x200000) (i32.const 0x280000)))
    (call $lines (i32.load (i32.const 44))))

  (func (export "_start") (local $n i32)
    CODE))
