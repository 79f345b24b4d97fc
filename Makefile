# make demo: the whole way on the embedded synthetic archive.   make test: all tests.   make test-fast: those of a second.
# Each makes the environment first, in .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed
LOWEST := .venv-lowest

DEMO := runs/demo
LABELS := $(DEMO)/archive/labels/conditions.csv

.PHONY: venv demo test test-fast test-lowest lint clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# A killed demo continues where it stopped: finished pretraining and finished runs are not run again.
demo: venv
	$(BIN)/ssl-ecg synthesize $(DEMO)/archive records=1500
	$(BIN)/ssl-ecg pretrain $(DEMO)/archive $(DEMO)/encoder holdout=$(LABELS) \
	    backbone=xresnet1d10 backbone.width=16 epochs=30 batch_size=128
	$(BIN)/ssl-ecg probe $(DEMO)/encoder $(DEMO)/archive $(LABELS) $(DEMO)/probe
	$(BIN)/ssl-ecg finetune $(DEMO)/encoder $(DEMO)/archive $(LABELS) $(DEMO)/model training.steps=100
	$(BIN)/ssl-ecg compare $(DEMO)/encoder $(DEMO)/archive $(LABELS) $(DEMO)/comparison \
	    'fractions=[0.02,0.1,1]' 'seeds=[0,1,2]' pretrained_finetune.steps=100 scratch.steps=100

# Two processes on two cores, so one thread each.
test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Without what takes seconds, or starts and kills processes.
test-fast: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not process"

# The same with the lowest versions that pyproject.toml allows, in an environment of its own.
test-lowest: $(LOWEST)/installed
	OMP_NUM_THREADS=1 PYTHONPATH=. $(LOWEST)/bin/python -m pytest -n 2 -m "not slow and not process"

$(LOWEST)/installed: $(INSTALLED) pyproject.toml constraints.txt .ci/lowest.py
	@echo "installing the lowest versions into $(LOWEST) (once, some minutes)"
	@$(PYTHON) -m venv $(LOWEST)
	@$(BIN)/python .ci/lowest.py > $(LOWEST)/constraints.txt
	@$(LOWEST)/bin/python -m pip install -qq --disable-pip-version-check -c $(LOWEST)/constraints.txt -e '.[dev]'
	@touch $@

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-lowest runs build dist
