# `make demo` and `make test` do all the set-up: Python 3.11 or newer, a C++17 compiler and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# what the installed package is made of: when one of these changes, it is built again
BUILD := pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)

.PHONY: demo test test-slow lint bench docs clean

demo: $(VENV)/study
	$(BIN)/thinned demo

# a file's tests stay in one process: their fixtures train networks
test: $(VENV)/test lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-slow: $(VENV)/test
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/test
	$(PIP) install --constraint constraints.txt --editable '.[bench]'
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# the site, in docs/_build/html; tutorials run again only when they have changed
docs: $(VENV)/docs
	$(BIN)/python docs/tools/site.py

$(VENV)/study: $(BUILD)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '.[study]'
	touch $@

$(VENV)/test: $(VENV)/study
	$(PIP) install --constraint constraints.txt --editable '.[study,test]'
	touch $@

$(VENV)/docs: $(VENV)/study
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/_extra docs/reference docs/tutorials
