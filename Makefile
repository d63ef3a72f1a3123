# make demo: install, then run a simulated campaign from data to decision.  make test: everything that must pass.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers on two cores; each keeps its libraries to one thread so that they do not fight.
WORKERS ?= 2

.PHONY: help demo install test lint format bench notebooks docs clean

help:
	@echo "make demo       install, simulate a campaign, write reports/demo/"
	@echo "make test       install, run the tests"
	@echo "make lint       ruff and mypy"
	@echo "make bench      measure speed and accuracy (benchmarks/)"
	@echo "make notebooks  execute the notebooks"
	@echo "make docs       build the documentation into build/docs/"
	@echo "make clean      remove the environment and generated files"

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"uplift needs Python 3.11 or newer, this is {v.major}.{v.minor}; run make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/uplift demo --out reports/demo --overwrite

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests uplift

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks

notebooks: install
	$(BIN)/python -m notebooks

# The theme warns of its successor on every run; that is no defect of the pages.
docs: install
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "documentation: build/docs/index.html"

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) reports/demo build *.egg-info .mypy_cache .ruff_cache .hypothesis
