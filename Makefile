# `make help` lists the targets. Everything runs in .venv, which the first target that needs it creates.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where to take torch from. Empty: as pip is configured (on Linux PyPI's build for CUDA, several GB). A machine without an accelerator is served
# by the much smaller CPU build: `make setup TORCH_INDEX=<index URL>` with the URL that pytorch.org shows for pip and CPU.
TORCH_INDEX ?=
# Arguments for the command, as `make quickstart ARGS="--seed 1"`.
ARGS ?=

# One thread a process: on shared cores more threads wait for each other and are many times slower.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup quickstart test lint types slow bench pretrain clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.installed ## create .venv with the pinned dependencies and this project

# torch goes first and by itself: its pin may be met by a build with a local version, which sorts higher (2.13.0+cpu) and which the rest then keeps.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) has no venv module: on Debian and Ubuntu run  apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[deepspeed,wandb,serve,tensorboard,dev]'
	@touch $@

quickstart: setup ## run the whole pipeline on the built-in task; interrupt it at will, the same command goes on
	$(BIN)/prm-train quickstart $(ARGS)

test: lint types ## lint, types and the default tests
	$(BIN)/python -m pytest -q $(ARGS)

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy
	$(BIN)/mypy

slow: setup ## the proofs that take minutes: kills and resumes, several processes
	$(BIN)/python -m pytest -q -m slow $(ARGS)

bench: setup ## sampling against generate, incremental scoring against whole paths: prints ratios
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.scoring

pretrain: setup ## make the base policy of the built-in task from nothing, as it is shipped
	$(BIN)/python -m data_gen.pretrain --output data_gen/base_policy

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
