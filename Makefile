# Two commands matter: `make serve` and `make test`. Each makes and fills .venv by itself.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.SUFFIXES:

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

# The CPU build of PyTorch is a tenth of the CUDA build. Set empty to go by pip's own settings.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PORT ?=
ARGS ?=
IMAGE ?= diglot
TARGET ?= cpu
BENCH ?= engine

CLIENTS := tests/clients

.PHONY: help serve test test-clients check format bench bench-peers image clean

help:
	@echo 'make serve [PORT=8000] [ARGS="--model DIR ..."]   start the server on the embedded model'
	@echo 'make test                                        run the tests'
	@echo 'make test-clients                                run the clients of others against the server'
	@echo 'make check                                       lint, formatting, types'
	@echo 'make format                                      let ruff rewrite what check complains of'
	@echo 'make bench [BENCH=engine]                        measure, beside the peers that are installed'
	@echo 'make bench-peers                                 install those peers'
	@echo 'make image [TARGET=cpu|cuda] [IMAGE=diglot]      build the container image'
	@echo 'make clean                                       remove what make has made'

serve: $(VENV)/.filled-serve
	@exec $(PY) -m server serve $(if $(PORT),--port $(PORT)) $(ARGS)

# Files in their own order: by the number of their tests the few long ones would come last, on one
# processor.
test: $(VENV)/.filled-dev
	@$(PY) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

# Clients live in environments of their own; Node 20 or newer is needed for half of them.
test-clients: $(VENV)/.filled-dev .venv-clients/.filled $(CLIENTS)/node_modules/.filled
	@$(PY) -m pytest $(CLIENTS) $(ARGS)

check: $(VENV)/.filled-dev
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m pyright --project pyproject.toml

format: $(VENV)/.filled-dev
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: $(VENV)/.filled-serve
	@$(PY) -m tests.bench.$(BENCH) $(ARGS)

bench-peers: $(VENV)/.filled-peers

image:
	docker build --target $(TARGET) --tag $(IMAGE):$(TARGET) \
	  $(if $(filter cpu,$(TARGET)),--build-arg TORCH_INDEX=$(TORCH_INDEX)) .

clean:
	rm -rf $(VENV) .venv-clients $(CLIENTS)/node_modules build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find engine server tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------------------- the environment

# A file per set of packages; newer than what it was made from: nothing to do.
$(VENV)/.filled-serve: pyproject.toml constraints.txt $(PY)
	@echo 'Filling $(VENV) (once; a minute or two) ...'
	@$(install_torch)
	@$(PIP) install -qq -c constraints.txt -e .
	@touch $@

$(VENV)/.filled-dev: pyproject.toml constraints.txt $(PY)
	@echo 'Filling $(VENV) with the tools of development (once; a minute or two) ...'
	@$(install_torch)
	@$(PIP) install -qq -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.filled-serve $@

$(VENV)/.filled-peers: pyproject.toml constraints.txt $(PY)
	@echo 'Filling $(VENV) with what the benchmarks compare with (once; a minute or two) ...'
	@$(install_torch)
	@$(PIP) install -qq -c constraints.txt -e '.[bench]'
	@touch $(VENV)/.filled-serve $@

.venv-clients/.filled: $(CLIENTS)/requirements.txt
	@echo 'Filling .venv-clients (once; some minutes) ...'
	@$(PYTHON) -m venv --clear .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check --no-input install -qq \
	  -r $(CLIENTS)/requirements.txt
	@touch $@

$(CLIENTS)/node_modules/.filled: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json
	@echo 'Filling $(CLIENTS)/node_modules (once; some minutes) ...'
	@cd $(CLIENTS) && npm ci --silent --no-audit --no-fund
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)

# Linux without an NVIDIA GPU takes torch from TORCH_INDEX, if that answers at once; everybody
# else, and anyone whom it fails, gets torch with the other packages from wherever pip looks.
define install_torch
if [ -n '$(TORCH_INDEX)' ] && [ "$$(uname -s)" = Linux ] \
    && ! command -v nvidia-smi >/dev/null 2>&1 && [ ! -e /dev/nvidia0 ] \
    && timeout 3 $(PY) -c \
      'import urllib.request as r; r.urlopen("$(TORCH_INDEX)/torch/", timeout=3)' 2>/dev/null; \
then $(PIP) install -qq -c constraints.txt --extra-index-url $(TORCH_INDEX) torch || true; fi
endef
