# make run    sets up, fetches the parts, indexes the samples and opens the app
# make test   sets up and runs the tests
# make lint   format, lint, types, import contract
# make bench  runs every benchmark (some hours; see benchmarks/RESULTS.md)

VENV     := .venv
BIN      := $(VENV)/bin
PYTHON   ?= python3
GENAISYS := $(BIN)/genaisys
INSTALL  := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run test lint bench parts

help:
	@sed -n 's/^# make/make/p' $(firstword $(MAKEFILE_LIST))

$(VENV)/.core: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "genaisys needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "Installing into $(VENV), once; this takes a few minutes."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=26'
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(INSTALL) --editable '.[dev,bench]'
	@touch $@

parts: $(VENV)/.core
	@$(GENAISYS) pull

run: parts
	@$(GENAISYS) index samples --collection Samples
	@$(GENAISYS) app --collection Samples

test: $(VENV)/.dev parts
	@scripts/install-chromium
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# A folder of web pages for the ingestion benchmark, such as Debian's python3.11-doc.
DOCS     ?= /usr/share/doc/python3.11/html

bench: $(VENV)/.bench parts
	$(BIN)/python benchmarks/retrieval_quality.py
	$(BIN)/python benchmarks/encoding_speed.py
	$(BIN)/python benchmarks/search_speed.py
	$(BIN)/python benchmarks/ingestion_speed.py $(DOCS)
	$(BIN)/python benchmarks/answer_quality.py
	$(BIN)/python benchmarks/decode_speed.py
	$(BIN)/python benchmarks/batch_speed.py
	$(BIN)/python benchmarks/prompt_lookup.py
	$(BIN)/python benchmarks/quantisation_quality.py
	$(BIN)/python benchmarks/load_time.py
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/lora_step.py
	$(BIN)/python benchmarks/tokenizer_training.py
	$(BIN)/python benchmarks/molecule_metrics.py
	$(BIN)/python benchmarks/molecule_generation.py
	$(BIN)/python benchmarks/molecule_speed.py
	$(BIN)/python benchmarks/molecule_optimisation.py
	$(BIN)/python benchmarks/molecule_conditions.py
	$(BIN)/python benchmarks/masked_objective.py
	$(BIN)/python benchmarks/circuit_likelihood.py
	$(BIN)/python benchmarks/flow_likelihood.py
	$(BIN)/python benchmarks/arm_sampling.py
	$(BIN)/python benchmarks/lossless_digits.py
	$(BIN)/python benchmarks/latent_likelihood.py
