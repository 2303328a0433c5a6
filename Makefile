# `make` lists what there is. Arguments of demo and bench: make demo ARGS="--help"

ARGS ?=
CARGO ?= cargo
# The tool, built as the tests build it.
REDLOCK = $(CARGO) run --quiet --locked -p redlock-cli --

# A lock is a small part of a service; what it brings along by default must stay small, too.
MAX_CRATES := 60

.PHONY: help setup demo test servers matrix model schedules sim sim-bugs fuzz check lint fmt clippy doc crates bench counts chaos planted docker-image docker-up docker-down docker-test
.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## check for cargo and a Redis or Valkey server; install the server if there is none
	@sh scripts/setup.sh

demo: setup ## watch the lock survive faults on a local cluster; ARGS go to `redlock demo`
	$(CARGO) run --release --locked -p redlock-cli -- demo $(ARGS)

chaos: setup ## 60 s of random faults for 16 clients on local nodes; ARGS go to `redlock chaos`, as --report DIR
	$(REDLOCK) chaos --scenario random --duration 60s --clients 16 $(ARGS)

planted: setup ## build a client with faults in it, and see that `redlock chaos` finds them
	RUSTFLAGS="--cfg redlock_planted" CARGO_TARGET_DIR=target/planted $(CARGO) test --locked -p redlock-cli --test planted

test: setup ## run all tests: unit, property, real servers, documentation, and 2000 simulated runs; some ten minutes
	$(CARGO) test --locked --workspace --all-features
	$(MAKE) sim SEEDS=2000

servers: ## build the Redis and Valkey versions that can be had, or SERVERS="NAME ..." of them, into target/servers
	@sh scripts/servers.sh $(SERVERS)

matrix: servers ## run the suites on each of these servers, and write the table in docs/servers.md; some half an hour
	@sh scripts/matrix.sh $(SERVERS)

model: ## search the models of fencing, of the guards and of a changing node list to their full bounds; prints the numbers of states
	$(CARGO) test --release --locked -p redlock-quorum --lib protocol::models -- --nocapture --test-threads 1

SCHEDULES ?= 4000
schedules: ## explore the orders in which threads take their steps: all of small tests, SCHEDULES (4000) of others; prints the numbers
	RUSTFLAGS="--cfg redlock_shuttle" CARGO_TARGET_DIR=target/schedules SCHEDULES=$(SCHEDULES) \
		$(CARGO) test --locked -p redlock-quorum --lib schedules::

# Coverage without cargo-fuzz and without a nightly compiler: the flags that it would pass, for the target alone.
FUZZ_SECONDS ?= 30
FUZZ_HOST := $$(rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares

# One seed is told as a story, also with some of its faults only (FAULTS=3,5 or FAULTS=none), with a planted bug
# (BUG=NoDrift), or with all bytes that servers read and write (WIRE=1). Many seeds are a summary, and the story of the
# first that went wrong, with the fewest faults that are enough.
SEEDS ?= 1000
SIM := $(if $(BUG),SIM_BUG=$(BUG)) $(if $(FAULTS),SIM_FAULTS=$(FAULTS)) $(if $(WIRE),SIM_WIRE=1) $(if $(FROM),SIM_FROM=$(FROM))
sim: ## simulate SEEDS (1000) runs of clients, nodes and faults, or tell one: make sim SEED=7
	$(SIM) $(if $(SEED),SIM_SEED=$(SEED),SIM_SEEDS=$(SEEDS)) $(CARGO) test --release --locked -p redlock-quorum --lib \
		simulation::tests::nothing_goes_wrong -- --nocapture

LIMIT ?= 10000
sim-bugs: ## see in how many seeds, at most LIMIT (10000), the simulation finds each planted bug
	SIM_BUGS=$(LIMIT) $(CARGO) test --release --locked -p redlock-quorum --lib simulation::tests::planted -- --nocapture

fuzz: ## feed the settings parser and the client with what nobody would send, FUZZ_SECONDS (30) each; needs a C++ compiler
	RUSTFLAGS="$(FUZZ_FLAGS)" $(CARGO) build --locked --manifest-path fuzz/Cargo.toml --release \
		--target $(FUZZ_HOST) --target-dir target/fuzz
	@for target in settings replies; do \
		mkdir -p target/fuzz/corpus/$$target && \
		target/fuzz/$(FUZZ_HOST)/release/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -len_control=0 \
			-timeout=25 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 -artifact_prefix=target/fuzz/$$target- \
			target/fuzz/corpus/$$target fuzz/seeds/$$target || exit 1; \
	done

check: lint test schedules ## all that CI runs: lint, test and schedules

lint: fmt clippy doc crates ## format, clippy over the feature combinations, documentation, number of crates

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked -p redlock-quorum --no-default-features -- -D warnings
	$(CARGO) clippy --locked -p redlock-quorum --no-default-features --features testing -- -D warnings
	$(CARGO) clippy --locked -p redlock-testing -- -D warnings
	$(CARGO) clippy --locked -p redlock-cli -- -D warnings
	$(CARGO) clippy --locked --workspace --all-features --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps -p redlock-quorum --no-default-features
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --all-features

crates:
	@tree=$$($(CARGO) tree --locked -p redlock-quorum -e normal --no-default-features --prefix none) && \
	count=$$(printf '%s\n' "$$tree" | awk '{ print $$1, $$2 }' | sort -u | wc -l) && \
	echo "crates without features: $$count (must be less than $(MAX_CRATES))" && \
	test "$$count" -lt $(MAX_CRATES)

bench: setup ## measure latency, throughput and CPU beside other crates, for 5 minutes; ARGS go to the bench program
	$(CARGO) run --release --locked -p redlock-bench -- $(ARGS)

counts: setup ## compare instructions and allocations of a cycle with benches/counts.json; ARGS=--record writes it anew
	$(CARGO) run --release --locked -p redlock-bench --bin counts -- $(ARGS)

docker-image: ## build the image of a docker node from this machine's own Redis server, without a registry
	@sh docker/image.sh

docker-up: ## start five docker nodes; NODES=volatile for nodes without persistence
	@sh docker/nodes.sh up $(or $(NODES),durable)

docker-test: ## play all chaos scenarios against the docker nodes; REPORTS=DIR keeps their reports
	@sh scripts/docker-test.sh $(REDLOCK)

docker-down: ## remove the docker nodes and their data
	@sh docker/nodes.sh down
