# Every command of the project. `make` alone prints them.
SHELL := /bin/sh
CARGO ?= cargo
TOOLS := .cache/tools
# The version that deny.toml was written for.
CARGO_DENY := 0.20.2
# local: the project's own cluster, no Docker. kind: a cluster of kind, where a Docker engine runs.
CLUSTER ?= local
E2E := $(CARGO) run --quiet --release -p e2e --bin e2e --
DEMO := $(CARGO) run --quiet --release -p e2e --bin demo --

.DEFAULT_GOAL := help
.PHONY: help demo demo-down test lint fmt deny advisories gen build image bench-operator prerequisites cargo-deny

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: prerequisites ## From nothing to a mesh on a real cluster, shown step by step (CLUSTER=local|kind)
	@$(DEMO) --cluster $(CLUSTER)

demo-down: ## Remove what the demo made
	@$(DEMO) --cluster $(CLUSTER) --down

test: prerequisites cargo-deny ## Run every suite; the last line sums them up
	@$(CARGO) run --quiet -p e2e --bin check

lint: ## Format check and clippy without warnings
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## Format the code
	$(CARGO) fmt --all

deny: cargo-deny ## Check bans, licences and sources of dependencies
	$(TOOLS)/bin/cargo-deny check bans licenses sources

advisories: cargo-deny ## Check dependencies against the advisory database (fetches it)
	$(TOOLS)/bin/cargo-deny check advisories

gen: ## Write crds/, manifests/, the reference and every golden file from the code
	UPDATE_GOLDEN=1 $(CARGO) test --quiet -p applink --tests
	$(CARGO) run --quiet -p applink -- manifests

build: ## Build the program for release
	$(CARGO) build --release -p applink

image: ## Build the container image with docker or podman
	$(or $(ENGINE),docker) build -t registry.applink.dev/applink:$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) -f Containerfile .

bench-operator: prerequisites ## Print what the operator costs: memory, CPU, requests, time to Ready
	@$(E2E) bench-operator

prerequisites:
	@scripts/prerequisites.sh

cargo-deny:
	@$(TOOLS)/bin/cargo-deny --version 2>/dev/null | grep -qF '$(CARGO_DENY)' || \
		CARGO_TARGET_DIR=$(TOOLS)/build $(CARGO) install --quiet --locked --force --root $(TOOLS) cargo-deny@$(CARGO_DENY)
	@rm -rf $(TOOLS)/build
