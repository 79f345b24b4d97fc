# make demo: the whole way on the embedded synthetic archive.   make test: all tests.   make test-fast: those of a second.
# make docs: the documentation as a site, in build/site.
# make cases: what becomes of hand-made recordings, beside what is right. Each makes the environment first, in .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed
LOWEST := .venv-lowest

DEMO := runs/demo
LABELS := $(DEMO)/archive/labels/conditions.csv

CASES ?= tests/cases

# What the site is made of; links among them stay as they are.
PAGES := README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md CITATION.cff LICENSE docs pretrain finetune benchmarks configs ssl_ecg tests

.PHONY: venv demo cases test test-fast test-lowest lint docs clean

venv: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing into .venv (once, some minutes)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev,docs]'
	@touch $@

# A killed demo continues where it stopped: finished pretraining and finished runs are not run again. The budget is that
# of a demonstration, a few minutes on one core: both trained arms get 80 steps at one learning rate each, where a real
# comparison lets validation choose. Two patients in five test, so that a difference of that size can be told from chance.
# The arm of simulated hearts is left out: these ECGs are simulated too, so that it would know them beforehand.
demo: venv
	$(BIN)/ssl-ecg synthesize $(DEMO)/archive records=2000
	$(BIN)/ssl-ecg pretrain $(DEMO)/archive $(DEMO)/encoder holdout=$(LABELS) split.test=0.4 \
	    backbone=xresnet1d10 backbone.width=16 epochs=20
	$(BIN)/ssl-ecg finetune $(DEMO)/encoder $(DEMO)/archive $(LABELS) $(DEMO)/model split.test=0.4 \
	    training.steps=80 training.evaluations=4 training.learning_rate=0.0003
	$(BIN)/ssl-ecg compare $(DEMO)/encoder $(DEMO)/archive $(LABELS) $(DEMO)/comparison split.test=0.4 \
	    'arms=[random_probe,pretrained_probe,scratch,pretrained_finetune]' probe_draws=3 \
	    'fractions=[0.05,0.2]' 'seeds=[0,1,2]' 'pretrained_candidates=[{}]' 'scratch_candidates=[{}]' replicates=1000 \
	    pretrained_finetune.steps=80 pretrained_finetune.evaluations=4 pretrained_finetune.learning_rate=0.0003 \
	    scratch.steps=80 scratch.evaluations=4 scratch.learning_rate=0.003
	@echo "a finetuned model lies in $(DEMO)/model"

cases: venv
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/cases/table.py $(CASES)

# Two processes on two cores, so one thread each. Bytecode is kept, since many tests start processes of their own.
test: venv
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Without what takes seconds, or starts and kills processes.
test-fast: venv
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not process"

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

# Warnings, such as a broken link or a page that no menu names, are errors. Nothing may be loaded from elsewhere.
docs: venv
	@rm -rf build/pages build/site && mkdir -p build/pages
	@ln -s $(foreach page,$(PAGES),$(CURDIR)/$(page)) build/pages/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	test -d build/site/assets/stylesheets
	! grep -rnoE '<(script|link|img)[^>]+(src|href)="?(https?:)?//[^>]*' build/site --include='*.html'

clean:
	rm -rf .venv .venv-lowest runs build dist
