#!/bin/sh
# Installs what the host is compared with: nginx, php-fpm, Apache, h2load, nats-server and Erlang from Debian,
# `wasmtime serve` and static-web-server from source into target/peers. What is there already is left as it is, and what
# can't be installed is left out: the comparison goes on without it.
set -u
cd "$(dirname "$0")/../../.."

PEERS=$PWD/target/peers
WASMTIME=48 # the line that the host is built with

. tests/debian.sh

missing() {
    echo "make: $1 can't be installed; the comparison goes on without it" >&2
}

from_debian() { # PACKAGE PROGRAM
    PATH=$PATH:/usr/sbin command -v "$2" >/dev/null && return
    command -v apt-get >/dev/null || { missing "$1"; return; }
    echo "make: installing $1 from Debian, to compare with it"
    keep_quiet
    as_root apt-get install --quiet=2 --yes --no-install-recommends "$1" >/dev/null ||
        { as_root apt-get update --quiet=2 &&
            as_root apt-get install --quiet=2 --yes --no-install-recommends "$1" >/dev/null; } ||
        missing "$1"
}

from_source() { # CRATE VERSION PROGRAM
    "$PEERS/bin/$3" --version 2>/dev/null | head -1 | grep -q " $2\." && return
    echo "make: building $1 $2, to compare with it; this takes some minutes"
    cargo install --quiet --locked --root "$PEERS" --version "^$2" "$1" || missing "$1"
}

# The program of php-fpm has its version in its name.
php() {
    ls /usr/sbin/php-fpm* >/dev/null 2>&1 || from_debian php-fpm php-fpm
}

from_debian nginx-light nginx
from_debian nghttp2-client h2load
from_debian nats-server nats-server
from_debian erlang-base erl
php
from_debian apache2-bin apache2
from_source wasmtime-cli "$WASMTIME" wasmtime
from_source static-web-server 2 static-web-server
