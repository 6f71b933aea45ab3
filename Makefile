# Two commands on a machine with python3 (3.11+), make and git: `make demo` and `make test`.
#
#   PYTHON=python3.12     the interpreter that makes the environment
#   TORCH_INDEX=URL       take torch from another index, e.g. https://download.pytorch.org/whl/cpu (see docs/install.md)
#   TRAIN_ARGS='--epochs 4' further options of the training in `make demo`, for a slow or busy machine
#   PYTEST_ARGS='-k crop' further arguments for pytest
#   MUTATIONS=3000        changed files of each reader that `make fuzz` tries

PYTHON ?= python3
TORCH_INDEX ?=
TRAIN_ARGS ?=
PYTEST_ARGS ?=
MUTATIONS ?= 300

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := constraints-cpu.txt
INSTALLED := $(VENV)/.installed
INSTALLED_TEST := $(VENV)/.installed-test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test docs lint format types imports tests fuzz look wheel bench clean distclean FORCE

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## train, evaluate and predict on the embedded data, then say where to look
	$(BIN)/probpose train --dataset synthetic $(TRAIN_ARGS)
	$(BIN)/probpose evaluate
	$(BIN)/probpose predict $$(ls data/synthetic/val2017/*.jpg | head -n 6) \
		--boxes data/synthetic/annotations/person_keypoints_val2017.json
	@echo
	@echo "The newest folder in runs/ holds the model, config.toml, curves.png, evaluation.json and predictions/ (overlays):"
	@ls -td runs/*/ | head -n 1
	@echo "To go on: . $(BIN)/activate; probpose calibrate"

test: lint types imports tests  ## everything that must pass: lint, types, import contract, tests, doctests, coverage

lint: $(INSTALLED_TEST)  ## style, and the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(INSTALLED_TEST)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED_TEST)  ## mypy --strict
	$(BIN)/mypy

imports: $(INSTALLED_TEST)  ## the direction of imports between the layers
	$(BIN)/lint-imports --no-logo

# One thread of torch for each of pytest's processes: more of both only compete for the cores.
tests: $(INSTALLED_TEST)  ## tests and doctests with coverage
	OMP_NUM_THREADS=1 MPLBACKEND=Agg $(BIN)/python -m pytest -n auto --maxprocesses 4 \
		--cov --cov-report=term --cov-report=xml $(PYTEST_ARGS)

fuzz: $(INSTALLED_TEST)  ## each reader on MUTATIONS (300) files changed at random
	OMP_NUM_THREADS=1 MPLBACKEND=Agg PROBPOSE_MUTATIONS=$(MUTATIONS) $(BIN)/python -m pytest -m fuzz --durations=5 $(PYTEST_ARGS) tests/test_mutations.py

look: $(INSTALLED_TEST)  ## the calibration report as a browser shows it, as pictures in build/look/
	PROBPOSE_LOOK=build/look MPLBACKEND=Agg $(BIN)/python -m pytest -q -rs tests/test_report_look.py
	@ls build/look/*.png 2>/dev/null || true

# Browsers refuse some of a page's parts from the disk, search among them: `python -m http.server -d build/site` has all.
docs: $(INSTALLED_TEST)  ## the site of the documentation into build/site/, every warning an error
	rm -rf build/gallery build/site
	OMP_NUM_THREADS=1 MPLBACKEND=Agg NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

wheel: $(INSTALLED_TEST)  ## build the wheel into dist/, and see that the package index can render its README
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build/bdist.* build/lib
	$(BIN)/python -m twine --no-color check --strict dist/*.whl

bench: $(INSTALLED)  ## regression with known noise, every residual family (docs/results.md)
	$(BIN)/python -m benchmarks.recover_noise

clean:  ## remove what building and testing leave (keeps .venv, data/ and runs/)
	rm -rf build dist *.egg-info .coverage coverage.xml .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment too
	rm -rf $(VENV)

# --- the environment: made once, and again when what it is made from changes ---

ifneq ($(TORCH_INDEX),)
ifneq ($(TORCH_INDEX),$(shell cat $(VENV)/.torch-index 2>/dev/null))
$(INSTALLED): FORCE  # another build of torch than the one that is installed
endif
endif

$(INSTALLED): pyproject.toml $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "probpose needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another interpreter: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		rm -rf $(VENV); \
		echo "$(PYTHON) cannot make a virtual environment. On Debian and Ubuntu: sudo apt-get install python3-venv"; \
		exit 1; }
ifneq ($(TORCH_INDEX),)
	$(PIP) uninstall --quiet --yes torch
	$(PIP) install --quiet --constraint $(PINS) --index-url $(TORCH_INDEX) torch
	@echo '$(TORCH_INDEX)' > $(VENV)/.torch-index
endif
	@echo "Installing into $(VENV), some minutes of downloads without a word (docs/install.md: a small torch)"
	$(PIP) install --quiet --constraint $(PINS) --editable .
	@touch $@

$(INSTALLED_TEST): $(INSTALLED)
	$(PIP) install --quiet --constraint $(PINS) --editable '.[test,docs]'
	@touch $@
