# Needs make and any Python >= 3.11; everything else goes into .venv.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
BIN := .venv/bin
PEER := .venv-differential

.PHONY: help coverage demo demo-s3 test ready lint format clean

help:
	@echo "make demo [TO=folder]   augment the sample photographs and show what came of them"
	@echo "make demo-s3            the same from a bucket to a bucket, on an S3 server of its own"
	@echo "make test               lint, type check, and the tests"
	@echo "make coverage           the tests, and which lines of the package they run; a quarter slower"
	@echo "make lint               ruff and mypy only"
	@echo "make format             put the code into shape"
	@echo "make clean              remove .venv, caches, and the demo's output"

demo: .venv/installed
	@$(BIN)/kaleidoscope demo "$(or $(TO),demo-output)"

demo-s3: .venv/installed-dev
	@$(BIN)/python examples/demo_s3.py

test: ready
	@KALEIDOSCOPE_ALBUMENTATIONS="$(CURDIR)/$(PEER)/bin/python" $(BIN)/pytest --numprocesses auto --dist worksteal

coverage: ready
	@KALEIDOSCOPE_ALBUMENTATIONS="$(CURDIR)/$(PEER)/bin/python" $(BIN)/pytest --cov --numprocesses auto --dist worksteal

# Checked and installed side by side: neither keeps two cores busy.
ready:
	@$(MAKE) --no-print-directory --jobs=2 lint $(PEER)/installed

lint: .venv/installed-dev
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/ruff format --quiet --check || { echo "not formatted: run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: .venv/installed-dev
	@$(BIN)/ruff check --quiet --fix --exit-zero
	@$(BIN)/ruff format

clean:
	rm -rf .venv .venv-bench $(PEER) demo-output build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last: what broke off halfway starts again. Python compiles what it imports: a part of it all.
.venv/installed: pyproject.toml
	$(call install,.)
	@touch $@

.venv/installed-dev: pyproject.toml
	$(call install,.[dev])
	@touch .venv/installed $@

# Albumentations, which tests/differential compares with. It brings an OpenCV distribution of its own, which overwrites
# ours where both are installed; of the same version, so that kernels of both round alike.
$(PEER)/installed:
	@echo "Setting up $(PEER); this happens once."
	@$(PYTHON) -m venv $(PEER)
	@$(PEER)/bin/python -m pip install -qq --disable-pip-version-check --no-compile albumentations==2.0.8 opencv-python-headless==5.0.0.93
	@touch $@

define install
@test -n "$(PYTHON)" || { \
	echo "Kaleidoscope needs Python >= 3.11 and found none: install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }
@echo "Setting up .venv with $(PYTHON); this happens once."
@$(PYTHON) -m venv .venv
@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile --editable '$(1)'
endef
