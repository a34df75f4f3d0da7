# Everything a developer does here. `make` alone lists it.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= 3.11
STORE ?= supreme-store
# Two that compute, and one that mostly waits for a cluster.
WORKERS ?= 3
STAMP := $(VENV)/.installed
ON ?= cuda

# Without bytecode, which containers often ask for, every process compiles what it imports: torch and
# its kin in 19 seconds instead of 7.
unexport PYTHONDONTWRITEBYTECODE

# Images. BUILDER: buildah, podman or docker, with options of its own; BUILD_OPTIONS: of a build.
BUILDER ?= buildah
BUILD_OPTIONS ?=
BASE ?= docker.io/library/python:3.11-slim-bookworm
REGISTRY ?= localhost
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --abbrev=40 --dirty --exclude '*')
CREATED = $(shell TZ=UTC0 git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ)
COMMA := ,
secret = $(if $(wildcard $(2)),--secret id=$(1)$(COMMA)src=$(2))

# What a target says comes in one piece when it ends; where its recipe begins with +, at once.
SIDE_BY_SIDE = $(MAKE) --no-print-directory --jobs 2 --output-sync=target
CHECKS := types style imports generated

.DEFAULT_GOAL := help
.PHONY: help demo check $(CHECKS) test tests budgets test-slow test-gpu e2e cluster-demo images operator-image trainer-image
.PHONY: generate hashes clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

demo: $(STAMP)  ## run examples/digits.yaml: a table on the terminal and a report page
	$(BIN)/supreme run examples/digits.yaml --store $(STORE)

check: $(STAMP)  ## style, types, import rules, generated files
	@+$(SIDE_BY_SIDE) $(CHECKS)

style: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: export MYPY_CACHE_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/supreme/mypy
types: $(STAMP)  # the cache serves all checkouts: mypy compares what is in a file, not where it is
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

generated: $(STAMP)
	$(BIN)/python -m tools.generate --check

test: $(STAMP)  ## check, and beside it every test that this machine can run
	@+$(SIDE_BY_SIDE) tests $(CHECKS)

tests: $(STAMP)
	+$(BIN)/pytest -n $(WORKERS) --budgets check

budgets: $(STAMP)  ## write what each file of tests may cost, from a run of all
	$(BIN)/pytest -n $(WORKERS) --budgets write

test-slow: $(STAMP)  ## the tests that take minutes, such as twenty kills of one run
	$(BIN)/pytest -n $(WORKERS) -m slow

test-gpu: $(STAMP)  ## the tests of a GPU, where there is one; ON=cpu tries them without
	$(BIN)/pytest -m gpu --on $(ON) tests/gpu

e2e: $(STAMP)  ## pods and bad days, most of it on a Kubernetes node that root can start here
	$(BIN)/pytest -n $(WORKERS) -m e2e $(shell grep -rlE 'mark\.e2e' --include='test_*.py' tests)

cluster-demo: $(STAMP)  ## the example on a Kubernetes of this machine, as root
	$(BIN)/python -m tests.e2e.demo

images: operator-image trainer-image  ## container images of the operator and of the trainer

# Every file has the same time, so that equal files are equal layers, whenever they are built. What
# this machine needs to reach package registries goes along as secrets, of which no image keeps any.
operator-image trainer-image: export BUILDAH_LAYERS := true
operator-image trainer-image: export SOURCE_DATE_EPOCH := 0
operator-image trainer-image: %-image:
	$(BUILDER) build --file Dockerfile.$* --tag $(REGISTRY)/supreme-$*:$(VERSION) \
	  $(if $(findstring docker,$(BUILDER)),,--timestamp $(SOURCE_DATE_EPOCH)) \
	  --build-arg PYTHON_IMAGE=$(BASE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) \
	  $(call secret,certificates,$(or $(SSL_CERT_FILE),/etc/ssl/certs/ca-certificates.crt)) \
	  $(call secret,pip,$(or $(PIP_CONFIG_FILE),/etc/pip.conf)) \
	  $(call secret,uv,$(or $(UV_CONFIG_FILE),/etc/uv/uv.toml)) $(BUILD_OPTIONS) .

generate: $(STAMP)  ## write the generated files anew
	$(BIN)/python -m tools.generate

hashes: $(STAMP)  ## write constraints-hashes.txt, from which images are installed, after constraints.txt
	uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --python-version $(PYTHON) --output-file constraints-hashes.txt constraints.txt

clean:  ## remove the environment and the demo's store
	rm -rf $(VENV) $(VENV)-uv $(STORE)

# uv, because pip's resolver does not come to an end on this set; of its own where there is none.
$(STAMP): export PATH := $(PATH):$(CURDIR)/$(VENV)-uv/bin
$(STAMP): pyproject.toml constraints.txt
	command -v uv >/dev/null || (python3 -m venv $(VENV)-uv && $(VENV)-uv/bin/pip install -q uv)
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[operator,trainer,dev]'
	touch $@
