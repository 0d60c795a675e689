# Needs python3.11, make and pip. A second call installs nothing unless pyproject.toml or the constraints changed.
PYTHON ?= python3.11
BIN := .venv/bin
INSTALLED := .venv/.installed
PLUGINS := methods tasks leaderboards
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE := 1

.PHONY: compare test lint format bench clean

compare: $(INSTALLED)
	$(BIN)/harness compare --methods all --budget 20m

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

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
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $$(grep '^torch==' constraints.txt)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .types .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info build dist
