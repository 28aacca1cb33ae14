# Every command of the project. `make` alone prints them.
SHELL := /bin/sh
CARGO ?= cargo
# Tools are kept beside the programs of the local cluster, a folder for each version, so that a fresh clone builds none of them again.
TOOLS := $(or $(APPLINK_CACHE),$(HOME)/.cache/applink)/tools
# The version that deny.toml was written for.
CARGO_DENY_VERSION := 0.20.2
export CARGO_DENY := $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny
CARGO_FUZZ_VERSION := 0.13.2
CARGO_FUZZ := $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION)/bin/cargo-fuzz
# How long each fuzz target runs, and which ones.
FUZZ_SECONDS ?= 60
FUZZ ?= $(patsubst crates/ztunnel/fuzz/fuzz_targets/%.rs,%,$(wildcard crates/ztunnel/fuzz/fuzz_targets/*.rs))
# local: the project's own cluster, no Docker. kind: a cluster of kind, where a Docker engine runs.
CLUSTER ?= local
# How much of the demo: 1 from nothing to a mesh, 2 an upgrade and a bad release as well.
ACTS ?= 2
E2E := $(CARGO) run --quiet --release -p e2e --bin e2e --
# The cluster of chaos-away and chaos-load; when a test fails, it stays.
AWAY := mesh-away
DEMO := $(CARGO) run --quiet --release -p e2e --bin demo --

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test lint fmt deny advisories gen build build-arm64 image bench-operator chaos chaos-away chaos-load prerequisites cargo-deny

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: prerequisites ## From nothing to a mesh on a real cluster, shown step by step (CLUSTER=local|kind, ACTS=1|2)
	@echo "Building the demo; from nothing, this takes some minutes."
	@$(CARGO) build --release -p e2e --bin demo
	@$(DEMO) --cluster $(CLUSTER) --acts $(ACTS)

demo-down: ## Remove what the demo made
	@$(DEMO) --cluster $(CLUSTER) --down

test: prerequisites cargo-deny ## Run every suite; the last line sums them up
	@echo "Building the programs that run the tests; from nothing, this takes some minutes."
	@$(CARGO) build -p e2e --bin check
	@$(CARGO) run --quiet -p e2e --bin check

lint: ## Format check and clippy without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## Format the code
	$(CARGO) fmt --all

deny: cargo-deny ## Check bans, licences and sources of dependencies
	$(CARGO_DENY) check bans licenses sources

advisories: cargo-deny ## Check dependencies against the advisory database (fetches it)
	$(CARGO_DENY) check advisories

gen: ## Write crds/, manifests/, the reference and every golden file from the code
	$(CARGO) run --quiet -p applink -- manifests
	UPDATE_GOLDEN=1 $(CARGO) test --quiet -p applink --tests

build: ## Build the program for release
	$(CARGO) build --release -p applink

build-arm64: ## Cross-compile the program for arm64 (needs Debian's gcc-aarch64-linux-gnu)
	rustup target add aarch64-unknown-linux-gnu
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
		$(CARGO) build --release -p applink --target aarch64-unknown-linux-gnu

image: ## Build the container image with docker or podman
	$(or $(ENGINE),docker) build -t registry.applink.dev/applink:$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) -f Containerfile .

bench-operator: prerequisites ## Print what the operator costs, on two nodes and on 1 000 simulated ones (BENCH="--only simulated --nodes 200")
	@$(CARGO) build --quiet --release -p applink -p shop -p e2e
	@$(E2E) bench-operator $(BENCH)

chaos: prerequisites ## Try every broken release without users, kill the operator before and after every write, then at random, then chaos-away and chaos-load (CHAOS="--help" lists parts)
	@$(CARGO) build --quiet --release -p applink -p shop
	@$(E2E) chaos $(CHAOS)
	@$(if $(CHAOS),,$(MAKE) --no-print-directory chaos-away && $(MAKE) --no-print-directory chaos-load)

# Tests of upgrades under the whole load, on a cluster of their own: $(1) says which.
define upgrades
	@$(CARGO) build --quiet --release -p applink -p shop
	@$(E2E) --name $(AWAY) down
	@APPLINK_E2E_NAME=$(AWAY) APPLINK_E2E_LOAD=full $(CARGO) test -p e2e --test mesh -- $(1) --test-threads=1 upgrades::
	@$(E2E) --name $(AWAY) down
endef

chaos-away: prerequisites ## Take the API server, nodes, controllers and the leader away in the middle of a rollout, and take two hops in a row
	$(call upgrades,--ignored)

chaos-load: prerequisites ## Run all tests of upgrades one after the other, each under the whole load
	$(call upgrades,)

prerequisites:
	@scripts/prerequisites.sh

# Without optimisation: it takes a second to check, and minutes to build.
cargo-deny:
	@test -x $(CARGO_DENY) || { \
		echo "Building cargo-deny $(CARGO_DENY_VERSION), once for this machine."; \
		CARGO_TARGET_DIR=$(TOOLS)/build CARGO_PROFILE_DEV_DEBUG=false $(CARGO) install --quiet --locked --force --debug \
			--root $(TOOLS)/cargo-deny-$(CARGO_DENY_VERSION) cargo-deny@$(CARGO_DENY_VERSION) && \
		rm -rf $(TOOLS)/build; \
	}

.PHONY: bench-proxy fuzz cargo-fuzz
bench-proxy: ## Measure the node proxy, beside another one where UPSTREAM_ZTUNNEL=path is given
	@$(CARGO) bench --quiet -p applink-ztunnel --bench paired

fuzz: cargo-fuzz ## Fuzz every parser of the node proxy (FUZZ_SECONDS=60 each, FUZZ="target ...")
	@cd crates/ztunnel/fuzz && for target in $(FUZZ); do \
		echo "==> $$target"; mkdir -p corpus/$$target seeds/$$target; \
		RUSTC_BOOTSTRAP=1 $(CARGO_FUZZ) fuzz run --fuzz-dir . $$target corpus/$$target seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 || exit 1; \
	done

# Used with RUSTC_BOOTSTRAP, which lets the pinned toolchain take the flags of the sanitizer.
cargo-fuzz:
	@test -x $(CARGO_FUZZ) || { \
		echo "Building cargo-fuzz $(CARGO_FUZZ_VERSION), once for this machine."; \
		CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --quiet --locked --force \
			--root $(TOOLS)/cargo-fuzz-$(CARGO_FUZZ_VERSION) cargo-fuzz@$(CARGO_FUZZ_VERSION) && \
		rm -rf $(TOOLS)/build; \
	}
