# Two commands: `make book` builds the website, `make test` tests everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
RUN := $(BIN)/python -m
READY := $(VENV)/ready
SITE := _build/html
RUN_TOOL = $(BIN)/python book/_tools/notebooks.py
# These look at the built website, and begin after it.
SITE_TESTS := $(patsubst %,tests/book/test_%.py,access described edition pdf play reading site weight)
# Outputs are compared where they were made; elsewhere the chapters must only run.
NBVAL := $(if $(filter Linux,$(shell uname -s)),--nbval,--nbval-lax)

.DEFAULT_GOAL := book
.NOTPARALLEL:
.PHONY: book pdf serve test lint unit notebooks check-notebooks check-translations check-assignments run-notebooks site-test benchmark colab clean

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vglab needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --requirement requirements.txt
	$(BIN)/python -c 'open("$(READY)", "w").close()'

book: $(READY)  ## build the website, and its Chinese edition
	rm -rf $(SITE)
	$(BIN)/jupyter-book build . --all -W -n --keep-going --quiet
	$(BIN)/python book/_tools/edition.py zh && echo "Open $(SITE)/index.html, or run: make serve"

pdf: $(READY)  ## print the website that `make book` built as one PDF, with Chromium
	$(BIN)/python book/_tools/pdf.py

serve: $(READY)  ## serve the website that `make book` built
	$(RUN) http.server 8000 --bind 127.0.0.1 --directory $(SITE)

test: lint unit check-notebooks check-translations check-assignments run-notebooks book site-test  ## test everything

lint: $(READY)
	$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy

unit: export OMP_NUM_THREADS = 1
unit: $(READY)  ## the package and the tools
	$(RUN) pytest tests $(SITE_TESTS:%=--ignore=%) -n 2 --dist loadfile --cov

notebooks: $(READY)  ## run the chapters whose text changed
	$(RUN_TOOL) build

check-notebooks: $(READY)  ## is every notebook what its text gives?
	$(RUN_TOOL) check

check-translations: $(READY)  ## does every translation say what the English says now?
	$(BIN)/python book/_tools/translate.py check zh

check-assignments: $(READY)  ## does every assignment's solution earn its points, and nothing wrong?
	OMP_NUM_THREADS=1 $(RUN) vglab assignments check --jobs 2

run-notebooks: export IPYTHONDIR = $(CURDIR)/book/_tools/ipython
run-notebooks: $(READY)  ## run every chapter again and compare with what is stored
	$(RUN) pytest $(NBVAL) --nbval-current-env --nbval-cell-timeout=300 --nbval-sanitize-with=book/_tools/nbval-sanitize.cfg -n 2 --dist loadscope book

site-test: $(READY)  ## test the website that `make book` built
	$(RUN) pytest $(SITE_TESTS) -n 2 --dist loadfile

benchmark: $(READY)  ## speed, side by side: fit, sweep, diagnose, explain, grading a class, and a sweep that loses a worker
	$(RUN) pip install --quiet --requirement benchmarks/requirements.txt && for what in fit sweep diagnose explain grade cluster; do $(BIN)/python benchmarks/$$what.py || exit 1; done

colab:  ## test the last commit under the versions that Colab has
	$(PYTHON) constraints/colab.py run
