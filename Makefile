# Two commands do all their own set-up on a machine with Python 3.11 and nothing else:
#   make demo   the main job, live        make test   the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench

.PHONY: help demo test jaeger check bench coverage format clean

help:                 ## this list
	@grep -hE "^[a-z]+:.*##" $(MAKEFILE_LIST) | sed -E "s/:[^#]*## /\t/" | expand -t 12

$(BIN)/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else "sluiceway needs Python 3.11 or newer, this is %d.%d: set PYTHON=..." % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

demo: $(STAMP)        ## a few hundred calls against the embedded provider, watched live
	@$(BIN)/sluiceway demo $(ARGS)

test: $(STAMP)        ## all tests
	$(BIN)/python -m pytest $(ARGS)

jaeger:               ## a Jaeger for the tests that ask a real one, built once where Go is at hand; they are skipped without
	@sh tests/install_jaeger.sh

check: $(STAMP)       ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright

bench: $(BENCH_STAMP) ## cost of layers, spans and waiting, and whole jobs against a server, each in one run
	$(BIN)/python tests/benchmarks/layers.py
	$(BIN)/python tests/benchmarks/spans.py
	$(BIN)/python tests/benchmarks/telemetry.py
	$(BIN)/python tests/benchmarks/volumes.py
	$(BIN)/python tests/benchmarks/waiting.py
	$(BIN)/python tests/benchmarks/queues.py
	$(BIN)/python tests/benchmarks/adaptive.py
	$(BIN)/python tests/benchmarks/jobs.py
	$(BIN)/python tests/benchmarks/batch.py --rows 5000 --calls 5000
	$(BIN)/python tests/benchmarks/batch_kills.py --rounds 10 --rows 1500
	$(BIN)/python tests/benchmarks/shared_limits.py

coverage: $(STAMP)    ## branch coverage of the tests
	$(BIN)/coverage run -m pytest -q
	$(BIN)/coverage report

format: $(STAMP)     ## format the code, apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:                ## remove what the other targets made
	rm -rf $(VENV) .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache dist build
