# Two commands for newcomers: `make demo` and `make test`. Each installs what it needs.

SHELL := /bin/bash
CARGO ?= cargo

# What building needs, and what the demo and the tests run.
BUILD_PACKAGES := build-essential pkg-config libmnl-dev libnftnl-dev
DEMO_PACKAGES  := iproute2 nftables curl python3 util-linux
TEST_PACKAGES  := iputils-ping tcpdump tshark ethtool procps clang llvm libbpf-dev valgrind

.PHONY: demo test check bench recovery figures costs accounting campaign storm conformance instructions mutations test-vm deps-demo deps-test deps-bench help

help:
	@echo 'make demo         a TCP connection outlives its path, on two hosts made for it'
	@echo 'make test         everything that CI runs'
	@echo 'make bench        what packets cost, with shimq and otherwise, side by side'
	@echo 'make recovery     how long applications notice a failed path, beside MPTCP'
	@echo 'make figures      the figures of the papers on REAP and LinShim6, drawn anew'
	@echo 'make costs        what the protocol costs without a network: computing and memory'
	@echo 'make accounting   ten million packets: each is delivered, or counted as dropped'
	@echo 'make campaign     a hundred thousand random lives of two hosts, in simulation'
	@echo 'make storm        ten thousand contexts meet the failure of an uplink, in simulation'
	@echo 'make conformance  who obeys the RFCs where, and which test proves it'
	@echo 'make instructions what mapping a packet takes, counted; fails if it has grown'
	@echo 'make mutations    whether those tests notice lines that do not obey'
	@echo 'make test-vm      a path failure on Debian'\''s stock kernel, in QEMU; under IPsec, too'

demo: deps-demo
	$(CARGO) build --release --locked -p shimq
	$${CARGO_TARGET_DIR:-target}/release/shimq demo $(DEMO_ARGS)

test: deps-test
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --locked
	@$(MAKE) --no-print-directory conformance CONFORMANCE_ARGS=--missing
	@$(MAKE) --no-print-directory instructions

# About a quarter of an hour. A quick look: make bench BENCH_ARGS=--quick
bench: deps-bench
	$(CARGO) build --release --locked -p shimq -p shimq-benches
	$${CARGO_TARGET_DIR:-target}/release/datapath $(BENCH_ARGS)

# A quick look: make recovery RECOVERY_ARGS='--runs 3 --healthy 10'
recovery: deps-bench
	$(CARGO) build --release --locked -p shimq -p shimq-benches
	$${CARGO_TARGET_DIR:-target}/release/recovery $(RECOVERY_ARGS)

# As many runs as the papers could only dream of: make figures FIGURES_ARGS='--runs 100000'
figures: deps-bench
	$(CARGO) build --release --locked -p shimq -p shimq-benches
	$${CARGO_TARGET_DIR:-target}/release/figures $(FIGURES_ARGS)

# A quick look: make costs COSTS_ARGS='--rounds 5'
costs: deps-bench
	$(CARGO) build --release --locked -p shimq-benches --bin costs
	$${CARGO_TARGET_DIR:-target}/release/costs $(COSTS_ARGS)

# A hundredth of it is in `make test`.
accounting: deps-bench
	$(CARGO) build --release --locked -p shimq -p shimq-benches --bin shimq --bin accounting
	$${CARGO_TARGET_DIR:-target}/release/accounting $(ACCOUNTING_ARGS)

# Two thousand of them are in `make test`. A quick look: make campaign CAMPAIGN_ARGS='--runs 10000'
campaign:
	@$(CARGO) run --quiet --locked -p shimq-tests --bin campaign -- $(CAMPAIGN_ARGS)

# A tenth of it is in `make test`.
storm:
	$(CARGO) test --release --locked -p shimq-tests --test sim_storm -- --ignored --nocapture

# The whole list; `make conformance CONFORMANCE_ARGS=--missing` prints the gaps alone.
conformance:
	@$(CARGO) run --quiet --locked -p shimq-tests --bin conformance -- $(CONFORMANCE_ARGS)

# One of them: make mutations MUTATIONS_ARGS='--only S-148'; of the state machines alone:
# make mutations MUTATIONS_ARGS='--file tests/conformance/transitions.toml'
mutations:
	@$(CARGO) run --quiet --locked -p shimq-tests --bin mutations -- $(MUTATIONS_ARGS)

# How many instructions mapping a packet takes; `make instructions ARGS=--record` takes the figures down.
instructions:
	@$(CARGO) run --quiet --release --locked -p shimq-tests --bin instructions -- $(ARGS)

test-vm: deps-demo
	tests/vm/run

deps-demo:
	@tests/install $(BUILD_PACKAGES) $(DEMO_PACKAGES)

deps-bench:
	@tests/install $(BUILD_PACKAGES) clang libbpf-dev iproute2 nftables ethtool util-linux

deps-test:
	@tests/install $(BUILD_PACKAGES) $(DEMO_PACKAGES) $(TEST_PACKAGES)
