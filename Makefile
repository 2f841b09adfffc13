# Two commands matter: `make demo` and `make test`. Both need make and Python 3.11 or newer, and nothing else.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The runtime of the models reports to its maker unless told not to; the package itself tells it, too.
export ORT_DISABLE_TELEMETRY := 1
# `make test TESTS=tests/record` runs a part.
TESTS ?= tests
# Kills, and faults of each kind of a worker, of one campaign: see tests/faults.
KILLS ?= 100

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock"

.PHONY: help demo test lint rules layout types imports image format docs lock campaign bench bench-inference clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(STAMP) ## Assess six synthetic patients from end to end (ARGS=--serve keeps it running)
	@$(BIN)/gateway demo $(ARGS)

# Tests that kill under load or start large servers have the machine to themselves; all others run on every core.
ALONE := tests/faults/test_kill.py tests/faults/test_kill_gateway.py tests/faults/test_worker_faults.py tests/acceptance

test: $(STAMP) ## Run everything that can run here; what cannot is listed at the end with its reason
ifeq ($(TESTS),tests)
	@status=0; \
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile tests $(ALONE:%=--ignore %) || status=$$?; \
	$(BIN)/python -m pytest $(ALONE) || status=$$?; \
	exit $$status
else
	@$(BIN)/python -m pytest $(TESTS)
endif

lint: rules layout types imports image ## Lint, layout, types, import contract, Dockerfile (-k goes on after a failure)

rules: $(STAMP)
	$(BIN)/ruff check .

layout: $(STAMP)
	$(BIN)/ruff format --check --quiet .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports --no-logo

image: $(STAMP)
	$(BIN)/hadolint Dockerfile

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write the generated pages of docs/
	$(BIN)/python -m gateway.config > docs/configuration.md
	$(BIN)/python -m gateway.errors > docs/errors.md
	$(BIN)/gateway models schema > docs/manifest.schema.json

lock: ## Resolve the dependencies anew (needs uv)
	$(COMPILE) --upgrade --extra cpu --extra aws --extra pkcs11 --extra test --extra training --extra lint --extra build pyproject.toml --output-file requirements.lock
	$(COMPILE) --extra cpu pyproject.toml --constraint requirements.lock --output-file deploy/requirements-runtime.lock

campaign: $(STAMP) ## Kill the gateway, and its worker in seven ways, KILLS times under load; verify the audit log, every answer
	GATEWAY_KILLS=$(KILLS) GATEWAY_WORKER_FAULTS=$(KILLS) $(BIN)/python -m pytest tests/faults

bench: $(STAMP) ## Measure the gateway against the reference program (GATEWAY_BENCH_DIR)
	@$(BIN)/python tests/benchmark/run.py $(ARGS)

bench-inference: $(STAMP) ## Measure workers, micro-batching, /v2, memory and start
	@PYTHONPATH=tests/shared $(BIN)/python tests/benchmark/inference.py $(ARGS)

clean: ## Remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Every package is checked against the hashes of the lock; uv does the same, faster, where it is installed.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed (PYTHON=...)"; exit 1; }
	@echo "building the environment in $(VENV)"
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) && \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
		$(PYTHON) -m venv $(VENV) && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $(STAMP)
