# Every target sets up what it needs in .venv, and is quick when run again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints-dev.txt)

.PHONY: demo test test-all lint format setup clean

demo: setup            ## the main job: an experiment is killed three times and goes on, bit for bit
	$(BIN)/holdfast demo

test: setup            ## everything but the slow tests
	$(BIN)/python -m pytest -q -n 2 -m "not slow"

test-all: setup        ## all tests
	$(BIN)/python -m pytest -q -n 2

lint: setup            ## style, format, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/.ready

# torch first and by its exact version: a bare "torch" would bring gigabytes of GPU packages.
.venv/.ready: pyproject.toml constraints-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e ".[torch,sklearn,pandas,dev]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis
