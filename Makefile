# Thin recipes. What they call is documented where it lives; docs/contributing.md has the whole picture.

CARGO ?= cargo
VERSION ?= 1.0.0
REGISTRY ?=
SEEDS ?= 100000
FIRST ?= 1
BIN := target/x86_64-unknown-linux-gnu/debug

.DEFAULT_GOAL := help
.PHONY: help deps build demo test soak check bench sqlx images clean

help: ## Show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what is missing besides a Rust toolchain; says what and why
	@./.ci/deps

build: ## Build every program
	$(CARGO) build --locked --bins

demo: deps build ## See it work, no account needed; ONCE=1 leaves when it has shown everything
	$(BIN)/toolplane demo $(if $(filter-out 0,$(ONCE)),--once)

test: deps ## Run every test, end to end ones included
	$(CARGO) build --locked --bins --tests
	$(BIN)/with-engine -- $(CARGO) test --locked

soak: deps ## Everything that takes long: 100,000 seeds of the simulation (SEEDS=, FIRST=; SEED=123 tells one), all crash points, 1,000 changes of ports, replicas
	$(CARGO) run --locked --release --package simulation -- $(if $(SEED),--seed $(SEED),--first $(FIRST) --seeds $(SEEDS))
	$(if $(SEED),,SOAK=1 $(CARGO) test --locked --release --package e2e --test crash_points -- --test-threads 1 --nocapture)
	$(if $(SEED),,$(CARGO) build --locked --bins)
	$(if $(SEED),,SOAK=1 $(CARGO) test --locked --no-fail-fast --package e2e --test firewall_order --test replicas -- --include-ignored --nocapture)

check: deps ## Check formatting, lints, documentation, outside crates and offline queries
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS="--deny warnings" $(CARGO) doc --locked --workspace --no-deps
	@if command -v cargo-deny >/dev/null; then set -x; $(CARGO) deny --locked check --allow unused-wrapper; \
		else echo "SKIPPED: cargo-deny is not installed (cargo install --locked cargo-deny)"; fi
	./.ci/sqlx --check

bench: deps ## Run every benchmark; ends in one line a figure, with the bar that it has to reach
	$(CARGO) run --locked --release --package bench-loop -- all

sqlx: deps ## Write .sqlx anew after a change of a query or a migration
	./.ci/sqlx

images: deps ## Pack the example tool for the local engine: VERSION=1.0.0, REGISTRY=host/ in front of its name
	$(CARGO) build --locked --release --package reasoning-mcp-server
	mkdir -p target/image
	cp src/reasoning-mcp-server/Dockerfile target/x86_64-unknown-linux-gnu/release/reasoning-mcp-server target/image
	docker build --build-arg VERSION=$(VERSION) --tag $(REGISTRY)agentopia/reasoning-mcp-server:$(VERSION) target/image

clean: ## Remove everything built
	$(CARGO) clean
