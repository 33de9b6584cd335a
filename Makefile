# CardioScan: `make` lists what can be made. Everything is installed into .venv, once, and again when pyproject.toml changes.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first of these that is Python 3.10 or newer makes .venv; `make setup PYTHON=/path/to/python3` names another.
PYTHON ?= python3 python3.13 python3.12 python3.11 python3.10 python
IMAGE ?= examples/page-photo.jpg
OUT ?= out
ARGS ?=
export IMAGE OUT

VENV := .venv
BIN := $(VENV)/bin
BASE := $(VENV)/.installed-base
DEV := $(VENV)/.installed-dev
export PIP_DISABLE_PIP_VERSION_CHECK := 1

BENCHMARKS := rendering accuracy speed profile stages ablation confidence refusals scaling serving precision roofline sources gpu

.PHONY: help setup setup-dev digitize test lint clean $(addprefix bench-,$(BENCHMARKS))

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "make %-18s%s\n", $$1, $$2}' Makefile
	@echo "Options: make digitize IMAGE=page.jpg OUT=folder; make test ARGS='-k naming'; make bench-speed ARGS=..."

setup: $(BASE) ## Install the digitizer with all formats and plots into .venv

setup-dev: $(DEV) ## Install everything, for tests and training, into .venv

digitize: $(BASE) ## Digitize IMAGE (an example page by default) into OUT, with the traces drawn over the page
	@$(BIN)/cardioscan digitize --overlay -o "$$OUT" -- "$$IMAGE" && \
	echo "Signals: $$OUT/*.csv   details: $$OUT/*.json   traces over the page: $$OUT/*.overlay.png"

test: $(DEV) ## Run all tests
	@$(BIN)/python -m pytest $(ARGS)

lint: $(DEV) ## Check style, layout and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench-rendering: $(DEV) ## Measure how fast training pages are rendered
bench-accuracy: $(DEV) ## Measure how well pages are digitized
bench-speed: $(DEV) ## Measure time and memory per page
bench-scaling: $(DEV) ## Measure how cost grows with pixels, pages and worker processes, and what starting costs
bench-profile: $(DEV) ## Show where a page's time and memory go, with a flame graph
bench-precision: $(DEV) ## Measure what computing in float16 costs
bench-roofline: $(DEV) ## Count operations and bytes of the networks, and their least time on GPUs and here
bench-gpu: $(DEV) ## Measure the networks on a GPU against what the card can do at best
bench-serving: $(DEV) ## Measure embedded and served digitizing: latency, throughput, CPU time, bytes
bench-sources: $(DEV) ## Measure how well kinds of captures are told apart
$(addprefix bench-,$(BENCHMARKS)): bench-%:
	@$(BIN)/python -m benchmarks.$* $(ARGS)

clean: ## Remove results, builds and caches; keeps .venv and the checkpoints in runs/
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -path ./.git -prune -o \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +

$(BIN)/python:
	@for candidate in $(PYTHON); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$candidate" --version)"; \
	    "$$candidate" -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "That Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "CardioScan needs Python 3.10 or newer; none found among: $(PYTHON)." >&2; \
	echo "Install one, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; \
	exit 1

$(BASE): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[formats,openvino,plot]'
	@touch $@

# torch, torchvision and timm are named together so that pip picks versions that belong together.
$(DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet torch torchvision timm -e '.[all]'
	@$(BIN)/python -m pip install --quiet --no-deps 'nvidia-pytriton>=0.5' || \
	echo "No Triton server for this machine: the tests that need one are skipped" >&2
	@touch $(BASE) $@
