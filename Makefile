# Each target works on a fresh clone with only Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=
SOAK_ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint deploy/constraints.txt
INPUTS := pyproject.toml deploy/constraints.txt

.PHONY: help up test lint audit sbom bench soak clean

help:
	@echo "make up     install what is needed, and start everything"
	@echo "make test   run the tests"
	@echo "make lint   run ruff, mypy and the audit"
	@echo "make audit  look for known vulnerabilities of what is pinned"
	@echo "make sbom   write sbom.json, a bill of materials of what runs"
	@echo "make bench  measure"
	@echo "make soak   run for a long time, breaking things"
	@echo "make clean  remove what the other targets made; .ark, with the data, stays"

up: $(VENV)/.installed
	@exec $(BIN)/ark-pulse up

# Two processes, each with a server of its own; the tests of one file stay together, they may share a running system.
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.supply.audit

audit: $(VENV)/.installed-dev
	$(BIN)/python -m tests.supply.audit

sbom: $(VENV)/.installed-dev
	$(BIN)/python -m tests.supply.sbom

bench: $(VENV)/.installed-dev
	$(BIN)/python -m tests.benchmarks $(BENCH_ARGS)

soak: $(VENV)/.installed-dev
	$(BIN)/python -m tests.faults.soak $(SOAK_ARGS)

clean:
	rm -rf $(VENV) build sbom.json *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find schemas processors tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or later is needed, $(PYTHON) is %d.%d" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# A stamp is newer than what it was made from, so that nothing is installed twice. With the tests' packages comes all
# that `up` needs.
$(VENV)/.installed: $(INPUTS) | $(BIN)/python
	@echo "installing ark-pulse into $(VENV)"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(INPUTS) | $(BIN)/python
	@echo "installing ark-pulse and what its tests need into $(VENV)"
	@$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed $@
