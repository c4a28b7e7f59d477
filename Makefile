# From nothing to a running server: `make run`. From nothing to green: `make test`.
# After either, plain `cargo run`, `cargo test` and `cargo build --release` work too.

TARGET := wasm32-wasip2
DEBIAN := rustc-web cargo-web rust-web-src wasi-libc

.PHONY: run cluster test fuzz examples bench compare peers beam browser clients lint setup install uninstall deb

run: setup
	@echo "make: building the host (the first time takes 8 to 15 minutes on two cores), then serving examples/site"
	cargo run --quiet -- --root examples/site

# A nats-server and three hosts on this machine, until Ctrl-C.
cluster: setup
	@echo "make: building the host (the first time takes 8 to 15 minutes on two cores)"
	@cargo build --quiet
	@examples/cluster/run.sh

test: setup browser clients
	@echo "make: building and running all tests"
	cargo test --workspace

examples: setup
	@echo "make: building the example workers"
	@cargo run --quiet --example guests -- hello api counter jobs-accept jobs-work markdown misbehave pingpong prefork ring singleton \
		supervisor wasi-http-p2 wasi-http-p3

bench: setup beam
	@echo "make: building with the release profile, then measuring"
	cargo bench --bench compare -- --ours
	cargo bench --bench messages
	cargo bench --bench operations

compare: setup peers
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

# Connections are tested with other people's clients and proxies, sockets with systemd's tool for that, walls with a
# debugger, and clusters with nats-server and iproute2. Where these can't be had, their tests do without, and say so.
clients:
	@tests/clients.sh

# A minute for each of some ten targets; what fails is kept in tests/fuzz/regressions.txt.
fuzz: setup
	@echo "make: building, then feeding the host bytes that nobody meant to send, for some minutes"
	FUZZ_SECONDS=60 cargo test --test main -- fuzz:: --test-threads 2

lint: setup
	cargo fmt --check
	cargo clippy --workspace --all-targets -- --deny warnings
	@# As embedders build it: without clusters.
	cargo clippy --package wasm-pool-host -- --deny warnings

# Everything has its place below PREFIX, and DESTDIR stands before all paths. What the service reads is in
# SYSCONFDIR, which is the administrator's: only the package for Debian puts a file there.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINARY ?= target/release/wasm-pool-host
STRIP ?= strip
DEBS ?= target/debian

BIN := $(DESTDIR)$(PREFIX)/bin
MAN := $(DESTDIR)$(PREFIX)/share/man/man1
BASH := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
DOC := $(DESTDIR)$(PREFIX)/share/doc/wasm-pool-host
GUIDES := $(wildcard docs/*.md)

# Builds nothing if the binary is there and newer than the source: root need not have a compiler.
install: $(BINARY)
	install -d $(BIN) $(MAN) $(BASH) $(ZSH) $(FISH) $(UNITS) $(DOC)/docs $(DOC)/examples
	install -m 755 -s --strip-program=$(STRIP) $(BINARY) $(BIN)/wasm-pool-host
	umask 022 && $(abspath $(BINARY)) generate man $(MAN)
	umask 022 && $(abspath $(BINARY)) generate completions bash > $(BASH)/wasm-pool-host
	umask 022 && $(abspath $(BINARY)) generate completions zsh > $(ZSH)/_wasm-pool-host
	umask 022 && $(abspath $(BINARY)) generate completions fish > $(FISH)/wasm-pool-host.fish
	install -m 644 README.md LICENSE $(DOC)
	install -m 644 $(GUIDES) $(DOC)/docs
	install -m 644 dist/host.toml dist/sysctl.d/60-wasm-pool-host.conf $(DOC)/examples
	install -m 644 dist/systemd/wasm-pool-host.socket $(UNITS)
	umask 022 && sed 's,/usr/bin/,$(PREFIX)/bin/,; s,/etc/,$(SYSCONFDIR)/,' \
		dist/systemd/wasm-pool-host.service > $(UNITS)/wasm-pool-host.service

# Removes what `install` has installed, and no folder that others share.
uninstall:
	rm -f $(BIN)/wasm-pool-host $(MAN)/wasm-pool-host.1 $(MAN)/wasm-pool-host-*.1
	rm -f $(BASH)/wasm-pool-host $(ZSH)/_wasm-pool-host $(FISH)/wasm-pool-host.fish
	rm -f $(UNITS)/wasm-pool-host.service $(UNITS)/wasm-pool-host.socket
	rm -f $(DOC)/README.md $(DOC)/LICENSE $(addprefix $(DOC)/,$(GUIDES))
	rm -f $(DOC)/examples/host.toml $(DOC)/examples/60-wasm-pool-host.conf
	for folder in $(DOC)/docs $(DOC)/examples $(DOC); do \
		if [ -d $$folder ]; then rmdir --ignore-fail-on-non-empty $$folder; fi; done

# A package for Debian and what is like it, in DEBS.
deb: $(BINARY)
	dist/debian/build.sh $(BINARY) $(DEBS)

# Cargo leaves a binary alone that a change does not concern. The time says that it was looked at.
target/release/wasm-pool-host: Cargo.toml Cargo.lock $(shell find host guest-worker wit -name target -prune -o -type f -print)
	$(MAKE) setup
	cargo build --release --package wasm-pool-program
	touch $@

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
