# Two commands for a new user: `make demo` and `make test`. Needs Python >= 3.11 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find src -type f -not -name '*.so' -not -path '*/__pycache__/*')

BENCH_OUT ?= build/benchmarks
FUZZ_SECONDS ?= 120
FUZZ_JOBS ?= 2

.PHONY: demo test lint coverage fuzz bench bench-training rooms clean

demo: $(VENV)/installed
	$(BIN)/ganglion demo

test: $(VENV)/test-tools
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

coverage: $(VENV)/test-tools
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term --cov-report=html $(PYTEST_ARGS)

lint: $(VENV)/lint-tools
	$(BIN)/ruff check src tests examples benchmarks docs setup.py
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

# Installed as a user would: the package itself, not a link to the sources.
$(VENV)/installed: $(VENV)/bin/python pyproject.toml setup.py constraints.txt $(SOURCES)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt .
	touch $@

$(VENV)/test-tools: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group test
	touch $@

$(VENV)/lint-tools: $(VENV)/test-tools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group lint
	touch $@

# What the project is compared with, and what runs other processors' code: for .ci/run.
$(VENV)/peers: $(VENV)/test-tools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group peers
	touch $@

# A picture of the folders and their imports.
rooms: $(VENV)/installed
	mkdir -p build
	$(BIN)/python docs/rooms.py build/rooms.svg

# Every reader, guided by coverage: two minutes, or FUZZ_SECONDS.
fuzz: $(VENV)/fuzz-tools
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) --jobs $(FUZZ_JOBS) $(FUZZ_ARGS)

$(VENV)/fuzz-tools: $(VENV)/test-tools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group fuzz
	touch $@

# Beside other runtimes and frameworks, on one core of a machine that should be idle otherwise.
bench: $(VENV)/bench-tools
	$(BIN)/python -m benchmarks.inference -o $(BENCH_OUT) $(BENCH_ARGS)

bench-training: $(VENV)/bench-training-tools
	$(BIN)/python -m benchmarks.training -o $(BENCH_OUT) $(BENCH_ARGS)

$(VENV)/bench-tools: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	touch $@

$(VENV)/bench-training-tools: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench-training
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage
