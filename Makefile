# escrutinio: `make` alone lists the targets.
#
# Everything runs from .venv, made from requirements.lock: every package by its hash. The stamp file marks
# it as complete, so a second run needs no network.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Compiled once, and not again by each of the hundreds of processes that the tests start
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo secrets unit test soak check bench stop reset clean lock sbom

VENV  := .venv
PY    := $(VENV)/bin/python
STAMP := $(VENV)/installed
CODE  := schemas services deploy tests

# The whole night after the 48 national updates: make demo FULL=1 ACTAS=folder
FULL ?=
ACTAS ?=
NEWSROOMS ?=
READERS ?=
EXTERNAL ?=

SBOM ?= sbom/escrutinio.cdx.json

# Tests run in so many processes at once, each with servers of its own; 0: in one, as a debugger needs it
WORKERS ?= 3

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP)  ## Start everything, play the official updates, show the count (FULL=1: the whole night)
	@FULL="$(FULL)" ACTAS="$(ACTAS)" $(PY) -m deploy.demo

stop:  ## Stop what demo started, and keep its data
	@if [ -e $(STAMP) ]; then $(PY) -m deploy.local stop; else echo "Nothing is installed, so nothing is running."; fi

reset:  ## Stop what demo started, and delete its data
	@if [ -e $(STAMP) ]; then $(PY) -m deploy.local reset; else echo "Nothing is installed, so there is no data."; fi

secrets: $(STAMP)  ## Make every missing password and certificate of docker compose (NEWSROOMS="newsroom-demo …" READERS="reader-demo …" EXTERNAL=host:port)
	@mkdir -p updates
	@$(PY) -m deploy.secrets $(if $(EXTERNAL),--external $(EXTERNAL)) $(NEWSROOMS) $(READERS)

check: $(STAMP)  ## Lint, format, types, import rules, and the released schemas
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(CODE)
	$(VENV)/bin/lint-imports
	$(PY) -m schemas.release

unit: $(STAMP)  ## Tests without network and without servers, under a minute
	$(PY) -m pytest -n $(WORKERS) tests/unit

test: $(STAMP)  ## All tests: unit, integration (real servers), acceptance, compose (where Docker answers)
	$(PY) -m pytest -n $(WORKERS)

soak: $(STAMP)  ## What takes hours: the real night killed again and again, everything from outside spoilt, long logs, every property, five million events measured
	HYPOTHESIS_PROFILE=soak $(PY) -m pytest -m "soak or hypothesis"
	@ACTAS="$(ACTAS)" $(PY) -m tests.bench --events 5_000_000 --runs 1 --json .cache/bench-soak.json

bench: $(STAMP)  ## Measure each stage beside its limit on this machine (ACTAS=folder of the sheets)
	@ACTAS="$(ACTAS)" $(PY) -m tests.bench

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

LINT := tests/support/contracts/lint

lock: $(STAMP)  ## Resolve Python packages, Kafka's jars and what checks the contracts again (for developers; needs uv and npm)
	$(LOCK) --all-extras --upgrade --output-file requirements.lock pyproject.toml
	$(LOCK) --constraint requirements.lock --extra fast --output-file deploy/images/requirements.lock pyproject.toml
	printf '%s\n' hatchling editables | $(LOCK) --constraint requirements.lock --output-file deploy/images/build.lock -
	$(LOCK) --upgrade --output-file $(LINT)/requirements.lock $(LINT)/requirements.in
	cd $(LINT) && npm update --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	$(PY) -m tests.support.contracts.lock
	$(PY) -m deploy.local lock

sbom: $(STAMP)  ## Write what our images contain, in CycloneDX (SBOM=file)
	@mkdir -p $(dir $(SBOM))
	@$(PY) -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible -o $(SBOM) deploy/images/requirements.lock
	@echo "wrote $(SBOM)"

clean: stop  ## Remove .venv and caches; the stack's data and downloads stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml deploy/find-python
	@python=$$(PYTHON="$(PYTHON)" deploy/find-python) && echo "Installing into $(VENV) with $$($$python --version), once" && $$python -m venv --clear $(VENV)
	@$(PY) -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	@$(PY) -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@
