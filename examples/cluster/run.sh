#!/bin/sh
# A cluster on this machine: a nats-server, and three hosts that serve examples/site. `make cluster` builds the host
# and starts this. Ctrl-C ends everything, and nothing is left.
#
#     examples/cluster/run.sh [PROGRAM]
#
# NATS_PORT is the port of nats-server, if it can't be 4222.
set -eu
cd "$(dirname "$0")/../.."

HOST=${1:-target/debug/wasm-pool-host}
NATS_PORT=${NATS_PORT:-4222}
NATS=nats://127.0.0.1:$NATS_PORT
PATH=$PATH:/usr/sbin # Debian's place for nats-server, which users don't have in their paths

nats= hosts=
folder=$(mktemp -d)

fail() {
    echo "cluster: $1" >&2
    exit 1
}

# Hosts first: they say that they leave, and finish what they have. Those that were killed are gone already.
end() {
    trap '' INT TERM HUP
    [ -z "$hosts" ] || kill $hosts 2>/dev/null || true
    for pid in $hosts; do wait "$pid" 2>/dev/null || true; done
    [ -z "$nats" ] || kill "$nats" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Each is in a session of its own, so that Ctrl-C reaches this script only, which ends them in order.
begin() { # PROGRAM ARGUMENTS...
    setsid "$@" </dev/null &
}

host() { # NAME PORT
    mkfifo "$folder/$1"
    sed -u "s/^/$(printf %-5s "$1") │ /" <"$folder/$1" &
    begin "$HOST" --root examples/site --listen "127.0.0.1:$2" --nats "$NATS" --name "$1" --expose-pid \
        >"$folder/$1" 2>&1
    hosts="$hosts $!"
}

# Waits until a command succeeds, for ten seconds, while nats-server runs.
until_it() { # COMMAND...
    tries=100
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] && kill -0 "$nats" 2>/dev/null || return 1
        sleep 0.1
    done
}

is_ready() {
    ls "$folder"/*.ports >/dev/null 2>&1
}

command -v nats-server >/dev/null || fail "nats-server is missing; \`make clients\` installs it from Debian, where there is one"
[ -x "$HOST" ] || fail "$HOST is missing; build it (cargo build)"

# The configuration's store is below the folder in which nats-server is started.
config=$PWD/examples/cluster/nats.conf
nats_server() {
    cd "$folder"
    exec setsid nats-server -js -c "$config" -p "$NATS_PORT" --ports_file_dir "$folder" -l "$folder/nats.log"
}
nats_server </dev/null &
nats=$!
until_it is_ready || {
    tail -n 3 "$folder/nats.log" >&2 || true
    fail "nats-server does not start; if port $NATS_PORT is taken, set NATS_PORT"
}

host one 8081
one=$!
host two 8082
two=$!
host three 8083

cat <<END
cluster: three hosts, and nats-server at port $NATS_PORT. Wait until each has said that it joined. From another terminal:

  $HOST hosts --nats $NATS
      who is there

  curl -i http://127.0.0.1:8081/style.css
      any host answers: 8081, 8082 and 8083

  $HOST --nats $NATS --role front --name four --listen 8084 --log-level warn
  curl -i http://127.0.0.1:8084/style.css
      one more, which has no processes: the others answer for it

  kill -9 $one
      one is gone without a word. The others say so, and four's clients notice nothing

  kill $two
      two stops in order: it finishes what it has

Ctrl-C here ends everything.
END

wait
