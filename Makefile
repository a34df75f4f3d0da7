# Everything a developer does here. `make` alone lists it.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= 3.11
STORE ?= supreme-store
WORKERS ?= 2
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo check test test-slow e2e cluster-demo generate clean

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

demo: $(STAMP)  ## run examples/digits.yaml: a table on the terminal and a report page
	$(BIN)/supreme run examples/digits.yaml --store $(STORE)

check: $(STAMP)  ## style, types, import rules, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.contracts.generated --check

test: check  ## check, then every test that this machine can run
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

test-slow: $(STAMP)  ## the tests that take minutes, such as twenty kills of one run
	$(BIN)/pytest -n $(WORKERS) -m slow

e2e: $(STAMP)  ## pods and bad days, most of it on a Kubernetes node that root can start here
	$(BIN)/pytest -m e2e

cluster-demo: $(STAMP)  ## the example on a Kubernetes of this machine, as root
	$(BIN)/python -m tests.e2e.demo

generate: $(STAMP)  ## write the generated files anew
	$(BIN)/python -m tests.contracts.generated

clean:  ## remove the environment and the demo's store
	rm -rf $(VENV) $(VENV)-uv $(STORE)

# uv, because pip's resolver does not come to an end on this set; of its own where there is none.
$(STAMP): export PATH := $(PATH):$(CURDIR)/$(VENV)-uv/bin
$(STAMP): pyproject.toml constraints.txt
	command -v uv >/dev/null || (python3 -m venv $(VENV)-uv && $(VENV)-uv/bin/pip install -q uv)
	uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[operator,trainer,dev]'
	touch $@
