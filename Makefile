# Two commands are the whole set-up: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Containers often forbid compiled modules: each start then compiles torch and LAVIS again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test lint setup clean

train: $(STAMP)
	$(BIN)/python train.py --cfg-path projects/pal/lal_stage1.yaml

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

setup: $(STAMP)

# uv lives inside the environment; --inexact lets it stay there.
$(STAMP): setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade
	$(BIN)/python -m pip install --quiet "uv>=0.7"
	$(BIN)/uv sync --inexact
	touch $@

clean:
	rm -rf $(VENV) output
