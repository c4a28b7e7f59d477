#!/bin/sh
# Installs the programs of others with which the tests meet the host: clients and proxies for its connections, systemd's
# tool for its sockets, a debugger for its walls, nats-server for its clusters, and iproute2 for links that are down, all
# from Debian. What is there already is left as it is. Where they can't be installed, their tests do without, and say so.
set -u

PATH=$PATH:/usr/sbin # where Debian puts servers, and users don't look

. "$(dirname "$0")/debian.sh"

install() { # PACKAGES...
    as_root apt-get update --quiet=2 &&
        as_root apt-get install --quiet=2 --yes --no-install-recommends "$@" >/dev/null
}

packages=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || packages="$packages $2"
}

need haproxy haproxy
need nginx nginx
need h2load nghttp2-client
need curl curl
need openssl openssl
need gdb gdb
need systemd-socket-activate systemd
need nats-server nats-server
need ip iproute2

[ -z "$packages" ] && exit
if command -v apt-get >/dev/null; then
    echo "make: installing$packages from Debian, to test with them"
    keep_quiet
    install $packages && exit
fi
echo "make: they can't be installed:$packages; what needs them is tested without"
