;; A worker by hand: the contract's imports, a memory, and a `handle` whose inside a test fills in.
;;
;; The response that `handle` returns lies at 1024, by the canonical ABI:
;;
;;   1024 status: u16 (200 beforehand)
;;   1028 headers: address, 1032 count; each 16 bytes: name's address and length, value's address and length
;;   1040 body: 0 for bytes, 1 for a file slice
;;   1048 bytes' address or file's handle, 1052 bytes' length
;;   1056 offset: u64, 1064 length: u64 of a file slice
;;
;; Free to use: 2048 to 65535. What the host copies in goes from 65536 upwards, as long as the process lives.
(component
  (import "wasm-pool:worker/files@VERSION" (instance $files
    (export "file" (type $file (sub resource)))
    (type $an-error-code (enum "no-entry" "access" "is-directory" "not-directory" "not-supported"
      "invalid-path" "name-too-long" "loop" "too-many-open" "too-large" "io"))
    (export "error-code" (type $error-code (eq $an-error-code)))
    (type $a-kind (enum "regular-file" "directory"))
    (export "kind" (type $kind (eq $a-kind)))
    (type $a-timestamp (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "timestamp" (type $timestamp (eq $a-timestamp)))
    (type $a-metadata (record (field "kind" $kind) (field "size" u64) (field "modified" $timestamp)))
    (export "metadata" (type $metadata (eq $a-metadata)))
    (type $an-entry (record (field "name" string) (field "kind" $kind)))
    (export "entry" (type $entry (eq $an-entry)))
    (type $an-opened (record (field "file" (own $file)) (field "metadata" $metadata)))
    (export "opened" (type $opened (eq $an-opened)))
    (type $a-chosen (record (field "opened" $opened) (field "which" (option u32))))
    (export "chosen" (type $chosen (eq $a-chosen)))
    (export "open" (func (param "path" string) (result (result $opened (error $error-code)))))
    (export "open-variant" (func (param "path" string) (param "variants" (list string))
      (result (result $chosen (error $error-code)))))
    (export "read-dir" (func (param "path" string) (result (result (list $entry) (error $error-code)))))
    (export "[method]file.stat" (func (param "self" (borrow $file)) (result (result $metadata (error $error-code)))))
    (export "[method]file.read-at" (func (param "self" (borrow $file)) (param "offset" u64) (param "nbytes" u32)
      (result (result (list u8) (error $error-code)))))
  ))
  (alias export $files "file" (type $the-file))
  (import "wasm-pool:worker/http@VERSION" (instance $http
    (export "file" (type $file (eq $the-file)))
    (type $a-header (record (field "name" string) (field "value" (list u8))))
    (export "header" (type $header (eq $a-header)))
    (type $a-scheme (enum "http" "https"))
    (export "scheme" (type $scheme (eq $a-scheme)))
    (type $a-request (record
      (field "id" u64) (field "method" string) (field "path" string) (field "query" (option string))
      (field "headers" (list $header)) (field "body" (list u8)) (field "client" string)
      (field "scheme" $scheme)))
    (export "request" (type (eq $a-request)))
    (type $a-file-slice (record (field "file" (own $file)) (field "offset" u64) (field "length" u64)))
    (export "file-slice" (type $file-slice (eq $a-file-slice)))
    (type $a-body (variant (case "bytes" (list u8)) (case "file" $file-slice)))
    (export "body" (type $body (eq $a-body)))
    (type $a-response (record (field "status" u16) (field "headers" (list $header)) (field "body" $body)))
    (export "response" (type (eq $a-response)))
  ))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
    (type $a-datetime (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $datetime (eq $a-datetime)))
    (export "now" (func (result $datetime)))
  ))
  IMPORTS
  (alias export $http "request" (type $request))
  (alias export $http "response" (type $response))

  (core module $env-module
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $place) (local.get $size)))
      (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
        (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.shr_u (local.get $size) (i32.const 16)))))
          (then unreachable))))
      (local.get $place))
  )
  (core instance $env (instantiate $env-module))
  (alias core export $env "memory" (core memory $memory))
  (alias core export $env "realloc" (core func $realloc))

  (alias export $files "open" (func $open))
  (alias export $files "open-variant" (func $open-variant))
  (alias export $files "read-dir" (func $read-dir))
  (alias export $files "[method]file.stat" (func $stat))
  (alias export $files "[method]file.read-at" (func $read-at))
  (alias export $clock "now" (func $now))
  (core func $lowered-open (canon lower (func $open) (memory $memory) (realloc $realloc)))
  (core func $lowered-open-variant (canon lower (func $open-variant) (memory $memory) (realloc $realloc)))
  (core func $lowered-read-dir (canon lower (func $read-dir) (memory $memory) (realloc $realloc)))
  (core func $lowered-stat (canon lower (func $stat) (memory $memory) (realloc $realloc)))
  (core func $lowered-read-at (canon lower (func $read-at) (memory $memory) (realloc $realloc)))
  (core func $lowered-now (canon lower (func $now) (memory $memory) (realloc $realloc)))
  (core instance $host
    (export "open" (func $lowered-open))
    (export "open-variant" (func $lowered-open-variant))
    (export "read-dir" (func $lowered-read-dir))
    (export "stat" (func $lowered-stat))
    (export "read-at" (func $lowered-read-at))
    (export "now" (func $lowered-now))
  )

  LOWERED

  (core module $main-module
    (import "env" "memory" (memory $shared 1))
    ;; open(path, its length, place): at `place` 0, at +8 a handle and at +24 the size; or 1 and at +8 the error code
    (import "host" "open" (func $open (param i32 i32 i32)))
    ;; open-variant(path, its length, variants, their count, place): as open, with an option and a number at +48
    (import "host" "open-variant" (func $open-variant (param i32 i32 i32 i32 i32)))
    ;; read-dir(path, its length, place): at `place` 0 and at +4 and +8 a list, or 1 and at +4 the error code
    (import "host" "read-dir" (func $read-dir (param i32 i32 i32)))
    ;; stat(handle, place): at `place` 0 and at +16 the size
    (import "host" "stat" (func $stat (param i32 i32)))
    ;; read-at(handle, offset, count, place): as read-dir
    (import "host" "read-at" (func $read-at (param i32 i64 i32 i32)))
    ;; now(place): at `place` the seconds
    (import "host" "now" (func $now (param i32)))
    FIELDS
    (func (export "handle") (param $id i64) (param $method i32) (param $method-length i32)
      (param $path i32) (param $path-length i32) (param $has-query i32) (param $query i32) (param $query-length i32)
      (param $headers i32) (param $headers-count i32) (param $body i32) (param $body-length i32)
      (param $client i32) (param $client-length i32) (param $scheme i32) (result i32)
      (local $at i32) (local $end i32) (local $out i32)
      (memory.fill (i32.const 1024) (i32.const 0) (i32.const 64))
      (i32.store16 (i32.const 1024) (i32.const 200))
      HANDLE
      (i32.const 1024))
  )
  (core instance $main (instantiate $main-module (with "env" (instance $env)) (with "host" (instance $host))
    (with "extra" (instance $extra))))
  (func (export "handle") (param "request" $request) (result $response)
    (canon lift (core func $main "handle") (memory $memory) (realloc $realloc)))
)
