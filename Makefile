# Two commands do all the set-up on a fresh machine: `make bench` and `make test`.
PYTHON ?= python3
VENV := .venv
# One more than two cores: tests wait for browsers, servers and processes that were killed.
JOBS ?= 3

.PHONY: bench test test-all lint tables clean

bench: $(VENV)/ready
	$(VENV)/bin/hsrzoo bench --model mcga-s2 --dataset indian-pines

# One thread a worker: the workers share the cores already. A file stays in one worker, with its fixtures; long files
# come first, as tests/conftest.py orders them.
test: $(VENV)/ready
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

# Also the tests marked long; with real data where HSRZOO_DATA and HSRZOO_PARITY name their folders.
test-all: $(VENV)/ready
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m ""

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

# Everything that is generated from the rows in records: the table of hsrzoo list and the recommended models, the
# pages of results, the tables of README and docs. docs/overview.jpg needs a data set: scripts/overview_figure.py.
tables: $(VENV)/ready
	$(VENV)/bin/python scripts/export_zoo.py
	$(VENV)/bin/hsrzoo report --store records --markdown docs/tables.md
	$(VENV)/bin/hsrzoo reproduce report
	$(VENV)/bin/python scripts/readme.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
