# Every target sets up what it needs in .venv; PYTHON names the interpreter to make it with.
PYTHON ?= python3
PY := .venv/bin/python

.PHONY: help demo test soak mutants crash fuzz lint format bench bench-quick docs linkcheck clean
.NOTPARALLEL:

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: .venv/.stamp-demos  ## train a character model on Python's own sources, into runs/
	$(PY) -m demos.char_lm

test: lint  ## every check: lint, types, tests, the docstrings' examples
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto

soak: .venv/.stamp-dev  ## a thousand new examples of every op: about an hour
	OMP_NUM_THREADS=1 $(PY) tests/soak.py

mutants: .venv/.stamp-dev .venv/.stamp-bench  ## break every gradient on purpose; each must be noticed: three minutes
	OMP_NUM_THREADS=1 $(PY) -m tests.minigrad.testing.mutants
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.checkers

crash: .venv/.stamp-dev  ## kill training runs 200 times; each must end in the same bits: four minutes
	OMP_NUM_THREADS=1 $(PY) -m tests.demos.crash

fuzz: .venv/.stamp-dev  ## load 100,000 damaged checkpoints; each must be refused, or right: two minutes
	OMP_NUM_THREADS=1 $(PY) -m tests.nn.fuzz

lint: .venv/.stamp-dev  ## ruff and mypy
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: .venv/.stamp-dev  ## mend what ruff can mend
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: .venv/.stamp-bench  ## speed and memory against PyTorch, into benchmarks/: half an hour
	$(PY) -m benchmarks
	$(PY) -m benchmarks.eager
	$(PY) -m benchmarks.memory
	$(PY) -m benchmarks.modes

bench-quick: .venv/.stamp-bench  ## a part of it, in five minutes; keeps nothing
	$(PY) -m benchmarks --quick

docs: .venv/.stamp-docs  ## the documentation, into docs/_build; a broken reference is an error
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

linkcheck: .venv/.stamp-docs  ## follow the documentation's links to other sites; needs a network
	$(PY) -m sphinx --fail-on-warning --keep-going --quiet -b linkcheck -D nb_execution_mode=off docs docs/_build/linkcheck

clean:  ## remove .venv, caches and build output; runs/ stays
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist docs/_build *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

# One stamp for each extra of pyproject.toml.
.venv/.stamp-%: pyproject.toml | .venv/bin/pip
	@echo "Installing minigrad[$*] into .venv"
	@$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# pip is the last thing venv installs, so an interrupted set-up starts again.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo >&2 \
	"minigrad needs Python 3.11 or newer and '$(PYTHON)' is not: name another, as in make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo >&2 \
	"'$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
