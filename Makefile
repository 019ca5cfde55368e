# Two commands: `make book` builds the website, `make test` tests everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python -m
READY := $(VENV)/ready
SITE := _build/html

.DEFAULT_GOAL := book
.PHONY: book serve test lint unit notebooks check-notebooks run-notebooks site-test benchmark colab clean

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vglab needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --requirement requirements.txt
	$(BIN)/python -c 'open("$(READY)", "w").close()'

book: $(READY)  ## build the website
	$(RUN) jupyterbook build . --all -W -n --keep-going --quiet
