# Two commands are the whole set-up: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OF_DOCS := $(VENV)/.of_docs
SITE := docs/_build

# Containers often forbid compiled modules: each start then compiles torch and LAVIS again.
unexport PYTHONDONTWRITEBYTECODE

# Here and not in pytest's own settings: of one file, or under a debugger, one process is quicker.
# Whoever is idle takes tests of the others; more than four want much memory.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal

.PHONY: help train small test test-all lint docs wheel setup clean

train: $(STAMP)
	$(BIN)/python train.py --cfg-path projects/pal/lal_stage1.yaml

# A real LLM behind a real encoder: fetched, trained for MINUTES, evaluated, asked about real clips; with
# PAL_DATA=FOLDER trained on real clips too. OPTIONS=run.amp=bf16 where the processor has units for it.
MINUTES ?= 14
small: $(STAMP)
	$(BIN)/pal weights get small
	$(BIN)/pal train small/align small/minutes --options run.steps_per_epoch=600 $(OPTIONS)
	$(BIN)/pal train small/lal $(if $(PAL_DATA),small/clips) small/minutes \
		--options run.max_minutes=$(MINUTES) $(OPTIONS)
	$(BIN)/python projects/pal/small/answers.py latest:small_lal

test: $(STAMP)
	$(PYTEST)

# All that `make test` leaves out, but for what needs a GPU; PART=NAME: one part of .ci/parts.
test-all: $(STAMP) $(OF_DOCS)
	$(PYTEST) -m "slow and not gpu" $(if $(PART),--part $(PART))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The site, in docs/_build/html: warnings are errors, and so is a link that leads nowhere. Its tools have an
# environment of their own and only read the package, so this needs neither torch nor .venv.
docs: $(SITE)/.installed
	$(SITE)/env/bin/python -m sphinx --fail-on-warning --quiet --fresh-env \
		-c docs/site -d $(SITE)/doctrees . $(SITE)/html
	$(SITE)/env/bin/python docs/site/check.py $(SITE)/html

$(SITE)/.installed: docs/site/requirements.txt
	test -x $(SITE)/env/bin/python || $(PYTHON) -m venv $(SITE)/env
	$(SITE)/env/bin/python -m pip install --quiet --requirement $<
	touch $@

setup: $(STAMP)

# uv lives inside the environment; --inexact lets it stay there. Modules are compiled here, in half a
# minute on two cores: else the first run of the tests takes a minute longer.
$(STAMP): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	$(BIN)/python -m pip install --quiet "uv>=0.7"
	$(BIN)/uv sync --inexact --compile-bytecode
	touch $@

# What the slow tests need besides: the notebook runs, the reference is read from docstrings, and the page
# of `pal serve` is used in a browser.
$(OF_DOCS): $(STAMP)
	$(BIN)/uv sync --inexact --compile-bytecode --extra docs --extra page
	touch $@

clean:
	rm -rf $(VENV) output $(SITE) docs/api

help:
	@echo "make train         the main job: LAL stage 1 on synthetic sounds (set-up included)"
	@echo "make small         a real small LLM learns to hear; PAL_DATA=FOLDER: from real clips too"
	@echo "make test          tests, about 5 minutes on 2 cores"
	@echo "make test-all      slow tests; PART=NAME runs one part of .ci/parts"
	@echo "make lint          ruff check and format"
	@echo "make docs          the documentation as a site, docs/_build/html/index.html"
	@echo "make wheel         build the wheel and use it in an empty folder, without LAVIS"
	@echo "make setup         the environment .venv alone"
	@echo "make clean         remove .venv, output/ and the site"
	@echo "Afterwards: .venv/bin/pal --help"

# Built, installed without LAVIS into an environment of its own, and used in an empty folder.
wheel: $(STAMP)
	.ci/wheel
