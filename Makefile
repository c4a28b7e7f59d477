# From nothing to a running server: `make run`. From nothing to green: `make test`.
# After either, plain `cargo run`, `cargo test` and `cargo build --release` work too.

TARGET := wasm32-wasip2
DEBIAN := rustc-web cargo-web rust-web-src wasi-libc

.PHONY: run test fuzz examples bench compare peers beam browser clients lint setup

run: setup
	@echo "make: building the host (the first time takes 8 to 15 minutes on two cores), then serving examples/site"
	cargo run --quiet -- --root examples/site

test: setup browser clients
	@echo "make: building and running all tests"
	cargo test --workspace

examples: setup
	@echo "make: building the example workers"
	@cargo run --quiet --example guests -- hello api counter markdown misbehave pingpong prefork ring supervisor \
		wasi-http-p2 wasi-http-p3

bench: setup beam
	@echo "make: building with the release profile, then measuring"
	cargo bench --bench compare -- --ours
	cargo bench --bench messages
	cargo bench --bench operations

compare: setup beam peers
	@echo "make: building with the release profile, then comparing: half an hour in which nothing else should run"
	cargo bench --bench compare
	cargo bench --bench messages
	cargo bench --bench operations

# What can't be had is left out of the comparison, which says so.
peers: setup
	@host/bench/peers/install.sh

# Messages are measured beside those of Erlang's virtual machine. Where it can't be had, the bench does
# without it, and says so.
beam:
	@if command -v erl >/dev/null && command -v erlc >/dev/null; then :; \
	elif command -v apt-get >/dev/null && \
		echo "make: installing erlang-base from Debian, to measure messages beside Erlang's" && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get update --quiet=2 && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --quiet=2 --yes erlang-base; then :; \
	else echo "make: Erlang can't be installed; messages are measured without it"; fi

# The live page is tested in a real browser. Where it can't be had, these tests do without, and say so.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		command -v google-chrome >/dev/null; then :; \
	elif command -v apt-get >/dev/null && \
		echo "make: installing chromium from Debian, to test the live page in it" && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get update --quiet=2 && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; then :; \
	else echo "make: chromium can't be installed; the live page is not tested"; fi

# Connections are tested with other people's clients and proxies. Where these can't be had, their tests do without,
# and say so.
clients:
	@if command -v haproxy >/dev/null && command -v nginx >/dev/null && command -v h2load >/dev/null && \
		command -v curl >/dev/null && command -v openssl >/dev/null; then :; \
	elif command -v apt-get >/dev/null && \
		echo "make: installing haproxy, nginx, h2load, curl and openssl from Debian, to test connections with them" && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get update --quiet=2 && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --quiet=2 --yes --no-install-recommends \
			haproxy nginx nghttp2-client curl openssl >/dev/null; then :; \
	else echo "make: they can't be installed; connections are tested without them"; fi

# A minute for each of some ten targets; what fails is kept in tests/fuzz/regressions.txt.
fuzz: setup
	@echo "make: building, then feeding the host bytes that nobody meant to send, for some minutes"
	FUZZ_SECONDS=60 cargo test --test main -- fuzz:: --test-threads 2

lint: setup
	cargo fmt --check
	cargo clippy --workspace --all-targets -- --deny warnings

# Guests are compiled for wasm. rustup brings the target where it can; where it can't, Debian's compiler
# builds the target's standard library from source.
setup:
	@command -v cargo >/dev/null || { echo "make: Rust is missing; install rustup (https://rustup.rs)"; exit 1; }
	@command -v cc >/dev/null || { echo "make: a C compiler is missing; install one (apt-get install build-essential)"; exit 1; }
	@if [ -d "$$(rustc --print sysroot)/lib/rustlib/$(TARGET)/lib" ]; then :; \
	elif echo "make: adding the $(TARGET) target with rustup" && timeout 300 rustup target add $(TARGET); then :; \
	elif dpkg --status $(DEBIAN) >/dev/null 2>&1; then :; \
	elif echo "make: rustup can't; installing $(DEBIAN) from Debian" && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get update --quiet=2 && \
		$$([ "$$(id -u)" = 0 ] || echo sudo) apt-get install --quiet=2 --yes $(DEBIAN); then :; \
	else echo "make: neither rustup nor apt-get can install a compiler for $(TARGET)"; exit 1; fi
