# One command each: `make demo`, `make test` and `make docs` install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
CORE := $(VENV)/.core
STAMP := $(VENV)/.stamp
DOCS := $(VENV)/.docs

export OMP_NUM_THREADS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

.PHONY: setup demo test real neighbours lint docs stress speed speed-circuits speed-measure speed-dictionaries
.DELETE_ON_ERROR:

setup: $(STAMP)

demo: $(CORE)
	@$(BIN)/assay demo

test: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# Fetches SmolLM2-135M (93 MB) once, and runs what only a real language model can show.
real: $(STAMP)
	@$(BIN)/assay zoo fetch smollm2-135m
	@$(BIN)/python -m pytest -m real

# What works with other libraries, run with them: half a gigabyte more to install.
neighbours: $(STAMP)
	@$(PIP) -e '.[dev,neighbours]'
	@$(BIN)/python -m pytest tests/test_neighbours.py tests/methods/test_gim_peer.py

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-cache --no-logo

# The documentation's site, in site/; warnings are errors.
docs: $(DOCS)
	@PYTHONPATH=src NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Hours. `.venv/bin/python -m tools.stress --help` has fewer inputs, and single readers.
stress: $(STAMP)
	@$(BIN)/python -m tools.stress --count 100000

speed: $(STAMP)
	@$(BIN)/python -m speed

# Minutes: GPT-2 small's shape. `.venv/bin/python -m speed.circuits --help` has smaller ones.
speed-circuits: $(STAMP)
	@$(BIN)/python -m speed.circuits

# An hour on two cores: what claims cost beside a hook script, on GPT-2's shape, SmolLM2 (`assay zoo fetch` it first), novel-4l.
speed-measure: $(STAMP)
	@$(BIN)/python -m speed.measure --all

# Minutes: a training step of a dictionary beside other libraries (docs/benchmarks.md says what to install).
speed-dictionaries: $(STAMP)
	@$(BIN)/python -m speed.dictionaries

# The core alone. A stamp is written last, so that an installation that was cut short is done again.
$(CORE): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 \
	  || { echo "assay needs Python 3.11 or newer, and '$(PYTHON)' was not found; try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { found=$$($(PYTHON) -c 'import platform; print(platform.python_version())' 2>/dev/null); \
	       echo "assay needs Python 3.11 or newer, and '$(PYTHON)' is $${found:-not a Python that runs}; try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "assay needs Python's venv module, which '$(PYTHON)' lacks; on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing assay into $(VENV) (a minute or two; torch is the large part) ..." >&2
	@$(PIP) -e .
	@touch $@

$(STAMP): $(CORE)
	@echo "installing what the tests need into $(VENV) ..." >&2
	@$(PIP) -e '.[dev]'
	@touch $@

$(DOCS): $(STAMP)
	@echo "installing what the documentation's site needs into $(VENV) ..." >&2
	@$(PIP) -e '.[docs]'
	@touch $@
