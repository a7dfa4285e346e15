# en57: an event store inside PostgreSQL. `make help` says what can be done here.

PG ?= 15
ifdef PG_CONFIG
  override PG := $(shell $(PG_CONFIG) --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
endif
export PG

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# The script of CREATE EXTENSION is these parts in this order.
SQL_PARTS := $(addprefix sql/,head.sql types.sql index.sql tables.sql functions.sql partitions.sql event_types.sql \
  upcasters.sql import.sql projections.sql rebuild.sql folds.sql deciders.sql invariants.sql erase.sql worker.sql gem.sql \
  admin.sql subscriptions.sql shards.sql polling.sql dead_letters.sql tracking.sql generate.sql privileges.sql)
UPGRADES := $(wildcard sql/en57--*--*.sql)
SOURCES := $(shell find src -name '*.rs') Cargo.toml Cargo.lock

# Cargo's profile: release, or quick, which `make quick` and `make watch` use.
PROFILE ?= release
export PROFILE
TARGET := target/pg$(PG)
LIBRARY := $(TARGET)/$(PROFILE)/liben57.so
SCRIPT := $(TARGET)/$(PROFILE)/en57--$(VERSION).sql
CARGO_OPTIONS := --profile $(PROFILE) --no-default-features --features pg$(PG) --target-dir $(TARGET)
WITH_PG := PGRX_PG_CONFIG_PATH="$$(tests/harness/pg_config.sh)"

# All targets that `make help` shows.
.PHONY: in-process-library $(shell sed -nE 's/^([a-z-]+):.*## .*/\1/p' Makefile)
.DELETE_ON_ERROR:

help: ## say what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PG=15|16|17|18   the PostgreSQL to use (default: 15), or"
	@echo "  PG_CONFIG=FILE   the pg_config of any PostgreSQL of these versions"
	@echo "  DESTDIR=FOLDER   install below this folder, for packagers"

setup: ## install what building and testing need, where it is missing
	@tests/harness/setup.sh

build: $(LIBRARY) $(SCRIPT) ## build the library and the script of CREATE EXTENSION
	@echo "== built: $(LIBRARY) $(SCRIPT)"

$(LIBRARY): $(SOURCES)
	@tests/harness/setup.sh
	@echo "== building en57 $(VERSION) for PostgreSQL $(PG) (some minutes the first time)"
	$(WITH_PG) cargo build --lib $(CARGO_OPTIONS)
	@touch $@

$(SCRIPT): $(SQL_PARTS) Cargo.toml Makefile
	@mkdir -p $(@D)
	cat $(SQL_PARTS) > $@

# Unoptimized, so with all of Rust's own checks. In a folder of its own: it is never installed.
in-process-library:
	@tests/harness/setup.sh
	$(WITH_PG) cargo build --lib --no-default-features \
	  --features pg$(PG),in-process-tests --target-dir target/in-process/pg$(PG)

# One at a time, and what is there already is left alone: tests that run beside each other install it all.
install: build ## install into the PostgreSQL of PG or PG_CONFIG
	@library="$(DESTDIR)$$(tests/harness/pg_config.sh --pkglibdir)"; \
	extension="$(DESTDIR)$$(tests/harness/pg_config.sh --sharedir)/extension"; \
	echo "== installing en57 $(VERSION) into $$library and $$extension"; \
	mkdir -p "$$library" "$$extension" && test -w "$$library" && test -w "$$extension" || \
	  { echo "en57: these folders are not yours to write: say sudo make install$(if $(MAKEOVERRIDES), $(MAKEOVERRIDES))" >&2; exit 1; }; \
	exec 9<"$$extension"; ! command -v flock >/dev/null || flock 9; \
	install -C -m 755 $(LIBRARY) "$$library/en57.so" && \
	install -C -m 644 en57.control $(SCRIPT) $(UPGRADES) "$$extension"

installcheck: ## run pg_regress and the isolation tests on your running server (PGHOST, PGPORT, PGUSER)
	@tests/harness/regress.sh

quick: setup ## build fast code and run TESTS="name .." of pg_regress/ with it, in seconds
	@PROFILE=quick tests/harness/quick.sh

watch: setup ## the same again whenever a file changes; PROFILE=quick with other targets takes the same build
	@PROFILE=quick tests/harness/watch.sh

test: setup ## run every test, on servers of its own; TESTS="name .." only these of pg_regress/
	@$(if $(filter file,$(origin PG)),ALSO_PG=18) tests/harness/test.sh

test-all: ## run every test on each of 15, 16, 17 and 18 (hours); MAJORS="16 17" only on these
	@tests/harness/test_all.sh

assertions: ## build PostgreSQL 15 with assertions, from Debian's source, and run the tests on it (an hour)
	@tests/harness/assertions.sh

in-process: setup ## run the tests inside a backend; TESTS="word .." only those with such a name
	@tests/harness/in_process.sh

driver: setup build ## run the tests with many connections; TESTS="name .." only these of tests/driver/
	@tests/harness/rust.sh $(if $(TESTS),,--test driver)

model: ## explore all interleavings of the protocol of positions, large scenarios as well (minutes); SCENARIO=name
	@LARGE=1 tests/model/run.sh

history: setup build ## many clients and a nemesis, and whether what they were told is true; SECONDS=180, SEED=n
	@SECONDS_TO_RUN=$(SECONDS) SEED=$(SEED) tests/history/run.sh

mutants: setup ## take mechanisms out of a copy, one by one, and see which test notices; ONLY="name .."
	@tests/mutants/run.sh

mutants-dcb: ## change every expression of the pure domain, and see whether its tests notice (hours); FILES=pattern
	@tests/mutants/dcb.sh

pg-upgrade: ## pg_upgrade between two majors, OLD=16 and NEW=18
	@tests/pg_upgrade/run.sh

fuzz: ## random bytes for the parsers that need no server; SECONDS=60 for each, SEED=n
	@EN57_FUZZ_SECONDS=$(or $(SECONDS),60) $(if $(SEED),EN57_TEST_SEED=$(SEED)) \
	  bash -c 'source tests/harness/lib.sh && exec cargo test --package en57-tests --profile tests --target-dir target/tests --test fuzz -- --nocapture'

deny: ## licences, sources and known weaknesses of all crates; the weaknesses where their database can be reached
	@tests/harness/setup.sh deny
	.ci/deny advisories

smith: setup build ## random calls of every function by roles with few rights; SECONDS=60, SEED=n
	@EN57_SMITH_SECONDS=$(or $(SECONDS),60) $(if $(SEED),EN57_TEST_SEED=$(SEED)) TESTS=smith tests/harness/rust.sh

demo: setup build ## watch it work on this machine's package log, or FILE=events.jsonl
	@docs/demo/demo.sh $(if $(FILE),"$(FILE)")

psql: ## open psql on the database of the demo
	@docs/demo/psql.sh

stop: ## stop the server of the demo, if it runs
	@docs/demo/stop.sh

bench: setup build ## measure against plain tables (docs/BENCHMARKS.md)
	@benches/run.sh

bench-suite: ## run the Event Store Benchmark Suite; EVENT_STORE_BENCHMARK=its checkout
	@EVENT_STORE_BENCHMARK="$(EVENT_STORE_BENCHMARK)" benches/event_store_benchmark/run.sh

lint: ## check format, lints, ranks, links and documentation
	@tests/harness/setup.sh lint
	cargo fmt --all --check
	.ci/ranks
	.ci/test_map
	.ci/links
	.ci/mutants
	@tests/harness/setup.sh deny
	.ci/deny
	@tests/harness/setup.sh pgspot
	PYTHONPATH="$$(bash -c 'source tests/harness/lib.sh; echo "$$base"')/pgspot" .ci/sql_spots
	$(WITH_PG) cargo clippy $(CARGO_OPTIONS) -- -D warnings
	$(WITH_PG) cargo clippy $(CARGO_OPTIONS) --features in-process-tests -- -D warnings
	cargo clippy --package en57-tests --all-targets --profile tests --target-dir target/tests -- -D warnings
	$(WITH_PG) RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items $(CARGO_OPTIONS)
	cargo clippy --manifest-path tests/model/Cargo.toml --target-dir target/model --all-targets -- -D warnings

freeze: setup build ## make what is here a release, and begin the next version (tests/upgrade/README.md); NEXT=0.2.0
	@NEXT=$(NEXT) tests/upgrade/freeze.sh

clean: stop ## remove all that was built, and the private PostgreSQL
	rm -rf target
	@tests/harness/clean.sh
