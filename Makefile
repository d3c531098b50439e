# Elman: set up, test, demonstrate. `make help` lists what there is.
#
# Needs GNU make and Python 3.11 or newer with its venv module; everything else is installed into $(VENV).

PYTHON ?= python3
VENV ?= .venv
# The torch that is installed first; a CPU or CUDA build of your own goes here: make test TORCH=/path/to/torch.whl
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
# One stamp a value of TORCH, so that another torch is really installed.
TORCH_STAMP := $(VENV)/.torch-$(firstword $(shell printf '%s' '$(TORCH)' | cksum))
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo lint test test-slow gpu-check clean

help: ## this list
	@echo "make TARGET [PYTHON=python3.12] [VENV=.venv] [TORCH='torch==2.13.0']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(BIN)/python:
	@command -v '$(PYTHON)' >/dev/null || { \
	  echo "error: there is no '$(PYTHON)' here. Install Python 3.11 or newer (Debian, Ubuntu: apt install python3 python3-venv)," \
	       "or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: '$(PYTHON)' is not Python 3.11 or newer (it is: $$('$(PYTHON)' --version 2>&1))." \
	       "Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' || { \
	  echo "error: '$(PYTHON)' comes without venv or ensurepip. Install them (Debian, Ubuntu: apt install python3-venv)," \
	       "or name another Python: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "$(PYTHON) -m venv $(VENV)"
	@'$(PYTHON)' -m venv '$(VENV)' || { \
	  rm -f '$@'; \
	  echo "error: '$(PYTHON) -m venv $(VENV)' failed, see above. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(TORCH_STAMP): | $(BIN)/python
	$(PIP) install '$(TORCH)'
	rm -f '$(VENV)'/.torch-* '$(STAMP)'
	touch '$@'

$(STAMP): $(TORCH_STAMP) pyproject.toml
	$(PIP) install -e '.[dev]'
	touch '$@'

install: $(STAMP) ## create the environment and install Elman into it

demo: $(STAMP) ## train a small language model for a minute and let it write
	@run=runs/demo; n=2; \
	while [ -e "$$run" ]; do run="runs/demo-$$n"; n=$$((n + 1)); done; \
	set -ex; \
	'$(BIN)/elman' train lm python:stdlib --minutes 1 --out "$$run"; \
	'$(BIN)/elman' sample "$$run" --prompt 'def ' --temperature 0.7 --length 500; \
	{ set +x; } 2>/dev/null; \
	echo; echo "The trained run is in $$run:"; ls "$$run"; \
	echo "Go on training:  $(BIN)/elman resume $$run --minutes 5"; \
	echo "Write more:      $(BIN)/elman sample $$run --prompt 'class '"; \
	echo "Score a text:    $(BIN)/elman eval $$run FILE"

lint: $(STAMP) ## ruff and mypy
	'$(BIN)/ruff' check
	'$(BIN)/ruff' format --check
	'$(BIN)/mypy'

# The suite's models are small: a process a core with one thread each is fastest.
test: lint ## lint, then the test suite
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} '$(BIN)/python' -m pytest -n auto --maxprocesses 8

test-slow: $(STAMP) ## the long proofs
	'$(BIN)/python' -m pytest -m slow

gpu-check: $(STAMP) ## the tests that need a CUDA device, then a table of speeds
	@'$(BIN)/python' -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { \
	  echo "error: torch sees no CUDA device ($$('$(BIN)/python' -c 'import torch; print("torch", torch.__version__)'));" \
	       "a CUDA build of torch can be named: make gpu-check TORCH=..." >&2; exit 1; }
	'$(BIN)/python' -m pytest -m gpu
	'$(BIN)/python' benchmarks/gpu.py

clean: ## remove the environment, the tools' caches and built packages; runs/ stays
	@if [ -e '$(VENV)' ] && [ ! -e '$(VENV)/pyvenv.cfg' ]; then \
	  echo "error: '$(VENV)' is not a virtual environment (it has no pyvenv.cfg); not removed" >&2; exit 1; fi
	rm -rf '$(VENV)' build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
