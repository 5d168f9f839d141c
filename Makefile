# Every target sets up what it needs in .venv, and is quick when run again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints-dev.txt)

MINUTES ?= 10
WORKERS := -n 2 --dist loadgroup  # one test at a time, but for those that share what takes long to make

# Every extra, beside each other; xgboost-cpu stands for the extra xgboost, which brings half a gigabyte for GPUs.
EVERYTHING := ".[torch,sklearn,pandas,zstd,lightning,transformers,accelerate,modularml,tensorboard,mlflow,wandb,jax,keras,lightgbm,torchdata,datasets,stable-baselines3,dev]" xgboost-cpu orbax-checkpoint

.PHONY: demo test test-all test-oldest test-newer peer-suite torture lint format docs bench bench-quick bench-reliability setup clean

demo: setup            ## the main job: an experiment is killed three times and resumes, bit for bit
	$(BIN)/holdfast demo

test: setup            ## the quick tests: half a second each, under 5 minutes in all
	$(BIN)/python -m pytest -q $(WORKERS) -m "not slow and not medium"

test-all: setup        ## all tests
	$(BIN)/python -m pytest -q $(WORKERS)

test-oldest: .venv-oldest/.ready  ## what concerns frameworks, with the oldest versions of them that we claim; about 10 minutes
	.venv-oldest/bin/python -m pytest -q $(WORKERS) -m "not slow" $(OTHERS_WARN) tests/integrations tests/state tests/exchange tests/data

NEWER ?= 3.12 3.13
test-newer:            ## the core, without frameworks, with newer Pythons: make test-newer NEWER=3.13
	.ci/test-newer $(NEWER)

PEER ?= lightning
peer-suite: setup      ## a framework's own tests with Holdfast in them: make peer-suite PEER=lightning FROM=CHECKOUT
	$(BIN)/python -m tests.support.peer_suites $(PEER) $(FROM)

torture: setup         ## long campaigns of kills, power cuts, damage and races: make torture MINUTES=10
	$(BIN)/python -m tests.support.reliability.torture --minutes $(MINUTES)

lint: setup            ## style, format, types, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv-docs/.ready  ## the site, into site/; a broken link, a missing anchor or an unknown name fails
	$(DOCS)/towncrier build --draft --version next >/dev/null
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build

bench: .venv-bench/.ready  ## speed against the peers and the machine's limits, into docs/performance.md; an hour or two
	.venv-bench/bin/python -m benchmarks --report docs/performance.md

bench-quick: .venv-bench/.ready  ## the same with smaller states, under 5 minutes, into runs/
	.venv-bench/bin/python -m benchmarks --quick --report runs/performance-quick.md

bench-reliability: .venv-bench/.ready  ## kills, full disks, flipped bits and power cuts, for the peers too; about 10 minutes, as root
	.venv-bench/bin/python -m benchmarks.reliability --report docs/reliability.md

setup: .venv/.ready

# torch first and by its exact version: a bare "torch" would bring gigabytes of GPU packages.
.venv/.ready: pyproject.toml constraints-dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e $(EVERYTHING) trl
	touch $@

# Older builds of torch bring gigabytes of GPU packages: make test-oldest OLDEST_TORCH=torch==2.4.1
OLDEST_TORCH ?= $(TORCH)
# Old versions warn of what newer versions of others give up.
OTHERS_WARN := -W ignore::DeprecationWarning -W ignore::FutureWarning
.venv-oldest/.ready: pyproject.toml constraints-oldest.txt
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	{ grep -v '^torch==' constraints-oldest.txt; echo "$(OLDEST_TORCH)"; } > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check "$(OLDEST_TORCH)"
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -c .venv-oldest/constraints.txt -e $(EVERYTHING)
	touch $@

# No framework: the reference is read from the sources, not imported.
DOCS := .venv-docs/bin
.venv-docs/.ready: pyproject.toml constraints-docs.txt
	test -x $(DOCS)/python || $(PYTHON) -m venv .venv-docs
	$(DOCS)/python -m pip install --quiet --disable-pip-version-check -c constraints-docs.txt -e ".[docs]"
	touch $@

# About 2.1 GB and 70 seconds. A peer that cannot be installed is left out, and the benchmarks say so.
BENCH_PIP := .venv-bench/bin/python -m pip install --quiet --disable-pip-version-check
.venv-bench/.ready: pyproject.toml constraints-bench.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	$(BENCH_PIP) "$(TORCH)"
	$(BENCH_PIP) -c constraints-bench.txt -e ".[torch]"
	for peer in safetensors joblib torch_checkpointing "orbax-checkpoint jax" "modularml[plot] ipython"; do \
		$(BENCH_PIP) -c constraints-bench.txt $$peer || echo "!! left out, cannot be installed: $$peer"; \
	done
	touch $@

clean:
	rm -rf .venv .venv-3.* .venv-oldest .venv-bench .venv-docs site .pytest_cache .ruff_cache .hypothesis
