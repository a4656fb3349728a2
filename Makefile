# The single entry. A person starts with `make demo`, then `make test`.
#
# What needs root is run through sudo where the caller isn't root: cargo and its
# files stay the caller's.

HOST       := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
# With musl, a command starts in half the time, because glibc asks the processor for its features
# at every start, which traps in a virtual machine. The tests are always built for the host.
MUSL       := $(shell uname -m)-unknown-linux-musl
HAS_MUSL    = $(wildcard $(shell rustc --print target-libdir --target $(MUSL) 2>/dev/null)/libstd-*)
# rustup fetches its standard library once, for a goal that builds the binary.
ifeq ($(origin TARGET)$(HAS_MUSL),undefined)
ifneq ($(filter-out help check docs install install-apparmor deps deps-%,$(or $(MAKECMDGOALS),help)),)
ifneq ($(HOST),)
    FETCHED := $(shell rustup target add $(MUSL) >&2 || \
        echo 'no $(MUSL) from rustup: with glibc, each command of corten starts 0.6 ms later' >&2)
endif
endif
endif
TARGET     ?= $(if $(HAS_MUSL),$(MUSL),$(HOST))
# Without a compiler (`sudo make install`), the binary that was built last.
CORTEN     := $(if $(HOST),$(TARGET_DIR)/$(TARGET)/release/corten,$(firstword $(shell ls -t $(TARGET_DIR)/*/release/corten 2>/dev/null)))
RUNTIME    ?= $(CORTEN)
PREFIX     ?= /usr/local
DOCS       := $(TARGET_DIR)/docs
ARGS       ?=

SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
# For cargo: the test binaries, and not cargo, as root.
RUNNER := CARGO_TARGET_$(shell printf %s '$(HOST)' | tr a-z- A-Z_)_RUNNER
AS_ROOT = env $(if $(SUDO),$(RUNNER)='sudo -E')

.PHONY: attack order fuzz soak torture privilege help docs build check test integration cri conformance vm vm-test vm-torture bench bench-check demo install install-apparmor deps deps-build deps-test deps-vm deps-engines deps-criu deps-conformance
.DEFAULT_GOAL := help

help:
	@echo 'make demo      build corten and run a container from bundles/'
	@echo 'make test      every test: cargo test, the sample bundles, containerd, a terminal, flags, installation'
	@echo 'make integration  scenarios under current engines in a Debian root, with runc and corten (SUITE=sid, ARGS="...")'
	@echo 'make conformance  the OCI runtime-tools validation suite: corten beside runc and crun (ARGS="TEST...")'
	@echo 'make cri       what a kubelet asks of containerd, with runc and corten (SUITE=sid, ARGS="...")'
	@echo 'make torture   SIGKILL and errors at each system call, damaged state (ARGS="--short NAME...")'
	@echo 'make vm        the image of the virtual machine of integration/vm'
	@echo 'make vm-test   the tests in there: cgroup v2 alone, systemd, without root (ARGS="LANE... -- NAME...")'
	@echo 'make vm-torture  the torture in there (ARGS="--seconds 300", DRIVER=--systemd-cgroup)'
	@echo 'make build     the release binary: $(CORTEN)'
	@echo 'make check     formatting, lints, documentation, licences and duplicate crates, shell scripts'
	@echo 'make bench     side by side with runc and crun (ARGS="...")'
	@echo 'make order     write src/hot.ld, the linker script that groups the functions of the verbs'
	@echo 'make bench-check  system calls, page faults and instructions of each verb against the kept figures (ARGS=--keep keeps new ones)'
	@echo 'make fuzz      the fuzzers (SECONDS=60 for each)'
	@echo 'make attack    known attacks and races on corten, or on RUNTIME (SECONDS=20 for each race, ARGS="TEXT...")'
	@echo 'make privilege  which capabilities, directories and system calls each verb needs (ARGS="NAME...")'
	@echo 'make soak      very many containers, and shortages; nothing may grow (ARGS="--containers 100000 --alive 1000")'
	@echo 'make docs      completions and manual pages: $(DOCS)'
	@echo 'make install   into $$DESTDIR$$PREFIX/sbin and share ($(DESTDIR)$(PREFIX))'
	@echo 'make install-apparmor  profiles that let users without privilege run corten on Ubuntu, into $$DESTDIR/etc/apparmor.d'
	@echo 'make deps-criu  a CRIU for the tests of checkpoint and restore'
	@echo 'make deps      the Debian packages that the above need'

build: deps-build
	cargo build --release --locked --target $(TARGET)

demo: build
	$(SUDO) bundles/run.sh hello $(CORTEN)

# The parts run even if one before has failed; the last line says which did.
test: build deps-test
	@failed=; \
	part() { name=$$1; shift; echo "== $$name"; "$$@" || failed="$$failed $$name"; }; \
	part cargo-test $(AS_ROOT) RUNTIME=$(RUNTIME) CRIU="$$($(SUDO) integration/criu.sh --cached 2>/dev/null)" cargo test --release --locked; \
	part bundles $(SUDO) bundles/check.sh $(RUNTIME); \
	part containerd $(SUDO) integration/ctr.sh $(RUNTIME); \
	part terminal $(SUDO) integration/tmux.sh $(RUNTIME); \
	part flags integration/help.sh $(RUNTIME); \
	part install integration/install/check.sh $(RUNTIME); \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed"; exit 1; fi; \
	echo "make test: all passed"

# The engines of a Debian root: SUITE=sid has the newest. ARGS are for integration/engines/run;
# without them, the interface of Kubernetes is tested, too.
SUITE ?= trixie
ENGINES_CACHE ?= $(HOME)/.cache/corten-engines
integration: build deps-engines
	@in_root="$(SUDO) env SUITE=$(SUITE) ENGINES_CACHE=$(ENGINES_CACHE)"; failed=; \
	$$in_root integration/engines/run --runtime $(RUNTIME) $(ARGS) || failed="$$failed engines"; \
	if [ -z '$(ARGS)' ]; then $$in_root integration/cri/run --runtime $(RUNTIME) || failed="$$failed cri"; fi; \
	if [ -n "$$failed" ]; then echo "make integration: failed:$$failed"; exit 1; fi

# The interface of Kubernetes alone. ARGS are names of checks.
cri: build deps-engines
	@$(SUDO) env SUITE=$(SUITE) ENGINES_CACHE=$(ENGINES_CACHE) integration/cri/run --runtime $(RUNTIME) $(ARGS)

# RUNTIMES="PATH..." names the runtimes of the table.
conformance: build deps-conformance
	$(SUDO) env RUNTIME='$(RUNTIME)' CONFORMANCE_CACHE='$(CONFORMANCE_CACHE)' $(if $(RUNTIMES),RUNTIMES='$(RUNTIMES)') \
	    integration/conformance/run $(ARGS)

# `--all-targets` leaves out what `cargo test` does not run by itself.
TOOLS := attack soak torture privilege
check: deps-build
	cargo fmt --check
	cargo clippy --all-targets $(TOOLS:%=--test %) --locked -- -D warnings
	@# The documentation is read by those who change the code, private items included.
	RUSTDOCFLAGS='-D warnings -A rustdoc::private_intra_doc_links' cargo doc --no-deps --document-private-items --locked --quiet
	.ci/paths
	@# The commits that the branch has and its upstream, or main, has not.
	@{ git log --format=%s '@{upstream}..' 2>/dev/null || git log --format=%s main..; } | \
	    awk 'length($$0) > 72 { print "more than 72 characters: " $$0; bad = 1 } END { exit bad }'
	@# The fuzzers, which nothing else builds, have a lock file of their own.
	cargo metadata --locked --format-version 1 --manifest-path tests/fuzz/Cargo.toml >/dev/null
	@if cargo deny --version >/dev/null 2>&1; then \
	    echo 'cargo deny check licenses bans sources'; \
	    cargo deny check licenses bans sources; \
	else \
	    echo 'skipped: licences and duplicate versions (cargo install --locked cargo-deny)'; \
	fi
	@if command -v shellcheck >/dev/null; then \
	    echo 'shellcheck'; \
	    grep -rlE '^#!/bin/(ba)?sh' --exclude-dir=.work .ci bundles integration | xargs shellcheck -x -P .; \
	else \
	    echo 'skipped: shellcheck (apt-get install shellcheck)'; \
	fi

bench: build deps-test
	$(AS_ROOT) CORTEN=$(CORTEN) cargo bench --locked --bench verbs -- --both $(ARGS)

# Counts, and no times: tests/bench/README.md. So it is built without optimisation.
bench-check: build deps-test
	$(AS_ROOT) CORTEN=$(CORTEN) cargo bench --profile dev --locked --quiet --bench verbs -- --guard $(ARGS)

# The linker script that groups the functions which the verbs execute.
ORDER := $(TARGET_DIR)/order
order: deps-build deps-test
	@case $(TARGET) in x86_64*-musl) ;; *) echo 'the order is made with a target of x86_64 and musl, not with $(TARGET)'; exit 1;; esac
	CARGO_PROFILE_RELEASE_STRIP=none CARGO_TARGET_DIR=$(ORDER) cargo build --release --locked --target $(TARGET)
	$(AS_ROOT) CORTEN=$(ORDER)/$(TARGET)/release/corten \
	    cargo bench --profile dev --locked --quiet --bench verbs -- --order src/hot.ld

# libFuzzer is C++.
SECONDS ?= 60
fuzz: deps-build
	$(call packages,c++:g++)
	tests/fuzz/run.sh $(SECONDS)

# The table of attacks: tests/attack/README.md. The build with a weakened resolver is corten's
# alone, and has a target directory of its own.
WEAK := $(TARGET_DIR)/weak
attack: build deps-test
ifeq ($(RUNTIME),$(CORTEN))
	CARGO_TARGET_DIR=$(WEAK) RUSTFLAGS='--cfg corten_weak_resolver -C target-feature=+crt-static' \
	    cargo build --quiet --locked --bin corten
endif
	$(AS_ROOT) RUNTIME=$(RUNTIME) CRIU="$$($(SUDO) integration/criu.sh --cached 2>/dev/null)" \
	    ATTACK_SECONDS=$(if $(filter file,$(origin SECONDS)),20,$(SECONDS)) \
	    WEAKENED=$(if $(filter $(CORTEN),$(RUNTIME)),$(WEAK)/$(HOST)/debug/corten) \
	    cargo test --release --locked --quiet --test attack -- $(ARGS)

# Many containers, in a row, at the same time, and where memory, processes or disk run out;
# then random verbs: rounds, processes, operations of each, ids.
STORM ?= 2,16,40,500
soak: build deps-test
	$(AS_ROOT) RUNTIME=$(RUNTIME) cargo test --release --locked --quiet --test soak -- $(ARGS)
	$(AS_ROOT) RUNTIME=$(RUNTIME) STORM=$(STORM) cargo test --release --locked --quiet --test suite -- storm::

# Faults at each system call: tests/torture/README.md. The whole takes half an hour or more.
torture: build deps-test
	$(AS_ROOT) RUNTIME=$(RUNTIME) CRIU="$$($(SUDO) integration/criu.sh --cached 2>/dev/null)" \
	    cargo test --release --locked --quiet --test torture -- $(ARGS)

# What each verb needs, by taking one thing away at a time: tests/privilege/README.md.
privilege: build deps-test
	$(AS_ROOT) RUNTIME=$(RUNTIME) cargo test --release --locked --quiet --test privilege -- $(ARGS)

# Completions and manual pages, by a program that is no part of the binary.
docs: $(DOCS)/corten.8
$(DOCS)/corten.8: integration/install/docs.rs Cargo.lock $(wildcard src/cli/*.rs)
	@$(MAKE) --no-print-directory deps-build
	cargo run --quiet --locked --example docs -- $(DOCS)

SHARE = $(DESTDIR)$(PREFIX)/share
install: $(DOCS)/corten.8
	@test -x '$(CORTEN)' || { echo 'make build first' >&2; exit 1; }
	install -D -m 755 $(CORTEN) $(DESTDIR)$(PREFIX)/sbin/corten
	install -d $(SHARE)/man/man8
	install -m 644 $(DOCS)/*.8 $(SHARE)/man/man8
	install -D -m 644 $(DOCS)/corten.bash $(SHARE)/bash-completion/completions/corten
	install -D -m 644 $(DOCS)/_corten $(SHARE)/zsh/site-functions/_corten
	install -D -m 644 $(DOCS)/corten.fish $(SHARE)/fish/vendor_completions.d/corten.fish

# When this is needed, and when not: integration/install/README.md.
APPARMOR = $(DESTDIR)/etc/apparmor.d
install-apparmor:
	@test -e /etc/apparmor.d/abi/4.0 || [ -n '$(DESTDIR)' ] || { echo 'needs AppArmor 4: an older one has no rule for user namespaces' >&2; exit 1; }
	install -d $(APPARMOR)/abstractions/base.d
	sed 's|/usr/local/sbin/corten|$(PREFIX)/sbin/corten|' integration/install/apparmor/corten >$(APPARMOR)/corten
	install -m 644 integration/install/apparmor/base.d-corten $(APPARMOR)/abstractions/base.d/corten
	$(if $(DESTDIR),,apparmor_parser --replace $(APPARMOR)/corten)

# Only what is missing is installed, and never at the price of removing a package
# (Docker's own containerd.io would make room for Debian's containerd).
# $(call packages,COMMAND:PACKAGE...); in place of a command, any file by its path
define packages
	@missing=; \
	for pair in $(1); do \
	    if [ -e "$${pair%%:*}" ] || PATH="$$PATH:/usr/sbin:/sbin" command -v "$${pair%%:*}" >/dev/null; then continue; fi; \
	    missing="$$missing $${pair##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
	    if command -v apt-get >/dev/null; then \
	        echo "installing:$$missing"; \
	        $(SUDO) apt-get update -qq && \
	        $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove $$missing >/dev/null; \
	    else \
	        echo "missing, and there is no apt-get here:$$missing" >&2; \
	    fi; \
	fi
endef

# Builds the image of the virtual machine (integration/vm), unless it is there.
VM_CACHE ?= $(HOME)/.cache/corten-vm
vm: deps-vm
	$(SUDO) env VM_CACHE='$(VM_CACHE)' integration/vm/build

# cargo names the test binary to its runner, which takes it into the machine.
TO_VM = $(if $(SUDO),sudo -E )env VM_CACHE=$(VM_CACHE)
vm-test: build deps-vm
	$(if $(filter tcg,$(VM_ENGINE)),$(call packages,qemu-system-x86_64:qemu-system-x86))
	env $(RUNNER)='$(TO_VM) $(CURDIR)/integration/vm/test $(RUNTIME)' \
	    cargo test --release --locked --quiet --test suite -- $(ARGS)

# The torture in there, on version 2 of cgroups. DRIVER=--systemd-cgroup: with systemd's units.
vm-torture: build deps-vm
	env $(RUNNER)='$(TO_VM) RUNTIME_FLAGS=$(DRIVER) $(CURDIR)/integration/vm/torture $(RUNTIME)' \
	    cargo test --release --locked --quiet --test torture -- $(ARGS)

deps: deps-build deps-test

# libc6-dev, which gcc only recommends, holds crt1.o and libc.a.
deps-build:
	@test -n '$(HOST)' || { echo 'corten is built by Rust 1.88 or later: https://rustup.rs' >&2; exit 1; }
	$(call packages,cc:gcc cc:libc6-dev)

deps-test:
	$(call packages,busybox:busybox-static strace:strace ip:iproute2 nsenter:util-linux script:bsdutils \
	    runc:runc crun:crun containerd:containerd umoci:umoci skopeo:skopeo musl-gcc:musl-tools setpriv:util-linux \
	    /usr/include/seccomp.h:libseccomp-dev newuidmap:uidmap tmux:tmux man:man-db groff:groff-base mandoc:mandoc zsh:zsh fish:fish)

# CRIU, with which the tests of checkpoint and restore don't skip.
deps-criu:
	@$(SUDO) integration/criu.sh

# The suite is in Go. What it imports is in Debian's -dev packages, which are named here by
# the directories that they bring.
CONFORMANCE_CACHE ?= $(HOME)/.cache/corten-conformance
GO := /usr/share/gocode/src/github.com
deps-conformance:
	$(call packages,go:golang-go xz:xz-utils runc:runc crun:crun ip:iproute2 \
	    $(GO)/google/uuid:golang-github-google-uuid-dev \
	    $(GO)/hashicorp/go-multierror:golang-github-hashicorp-go-multierror-dev \
	    $(GO)/mrunalp/fileutils:golang-github-mrunalp-fileutils-dev \
	    $(GO)/opencontainers/selinux:golang-github-opencontainers-selinux-dev \
	    $(GO)/opencontainers/runtime-spec:golang-github-opencontainers-specs-dev \
	    $(GO)/sirupsen/logrus:golang-github-sirupsen-logrus-dev \
	    $(GO)/urfave/cli:golang-github-urfave-cli-dev \
	    $(GO)/syndtr/gocapability:golang-gocapability-dev \
	    /usr/share/gocode/src/golang.org/x/sys:golang-golang-x-sys-dev)

deps-engines:
	$(call packages,mmdebstrap:mmdebstrap mmdebstrap:debian-archive-keyring)

deps-vm:
	$(call packages,mmdebstrap:mmdebstrap mmdebstrap:debian-archive-keyring depmod:kmod mkfs.ext4:e2fsprogs \
	    busybox:busybox-static)
