# Two commands do all the set-up on a fresh machine: `make bench` and `make test`.
PYTHON ?= python3
VENV := .venv
# Optional parts of hsrzoo that go into $(VENV) for test and lint; EXTRAS= for none, EXTRAS=onnx,report for two.
EXTRAS ?= heif,raw,onnx,faiss,timm,superpixels,zarr,ray,report,demo,docs
# One more than two cores: tests wait for browsers, servers and processes that were killed.
JOBS ?= 3
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: bench test test-all lint tables lock clean

# The networks beside two floors: the least-squares matrix, and the mean spectrum, which ignores the image.
bench: $(VENV)/core
	$(VENV)/bin/hsrzoo bench --model mcga-s2 --model mst-plus-plus --model linear --model mean-spectrum --dataset indian-pines

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

# Versions of all that an environment with all parts and tools has, for every system and Python; needs uv.
lock:
	uv pip compile pyproject.toml --universal --python-version 3.10 --all-extras --group dev --no-emit-index-url \
	    --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

define create
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "PyTorch takes 0.5 GB on disk (CPU build, 0.13 GB to download) to 5.7 GB (Linux, with the CUDA libraries);"
	@echo "hsrzoo and what else it needs take 0.44 GB (0.14 GB to download). pip shows every download and its size."
	@echo "To have PyTorch's CPU build on Linux, install it into $(VENV) first, as PyTorch's own page says."
endef

$(VENV)/core: pyproject.toml
	$(create)
	$(PIP) install --editable .
	touch $@

$(VENV)/ready: pyproject.toml
	$(create)
	@echo "Parts $(or $(EXTRAS),none) take 0.8 GB at most, the tools for tests and lint 0.4 GB."
	$(PIP) install "pip>=25.1"
	$(PIP) install --editable ".$(if $(EXTRAS),[$(EXTRAS)])" --group dev
	touch $@ $(VENV)/core

# Everything that is generated from the rows in records: the table of hsrzoo list and the recommended models, the
# pages of results, the tables of README and docs. docs/overview.jpg needs a data set: scripts/overview_figure.py.
tables: $(VENV)/ready
	$(VENV)/bin/python scripts/export_zoo.py
	$(VENV)/bin/hsrzoo report --store records --markdown docs/tables.md
	$(VENV)/bin/hsrzoo reproduce report
	$(VENV)/bin/python scripts/readme.py
	$(VENV)/bin/python scripts/leaderboard_picture.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
