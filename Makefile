# Two commands are all a user needs: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-train check lint types imports unit bench bench-hybrid docs lock clean

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) tools/bootstrap.py $(VENV)

demo: $(VENV)/.installed
	@$(BIN)/voxprint demo $(if $(VOICES),--voices "$(VOICES)") $(if $(ALL),--all)

check: lint types imports

lint: $(VENV)/.installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed
	@$(BIN)/mypy

imports: $(VENV)/.installed
	@$(BIN)/lint-imports

test: check
	@$(BIN)/voxprint model fetch
	@$(BIN)/python -m pytest -n 2 --dist loadfile

# The training's own tests, and those that compare with PyTorch. On Linux its wheels bring CUDA, 3 GB; without it:
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test-train
TRAIN_VENV := .venv-train

$(TRAIN_VENV)/.torch: requirements.lock pyproject.toml
	@$(PYTHON) tools/bootstrap.py $(TRAIN_VENV)
	@$(TRAIN_VENV)/bin/python -m pip --quiet --disable-pip-version-check install \
		--no-build-isolation -e '.[train]'
	@touch $@

test-train: $(TRAIN_VENV)/.torch
	@$(TRAIN_VENV)/bin/voxprint model fetch
	@OMP_NUM_THREADS=1 $(TRAIN_VENV)/bin/python -m pytest tests/training tests/parity

bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks

# Filtered search against other systems. SCALE=20k (default), 100k or 1m; MODEL=fitted or synthetic;
# PARTS="postgres faiss lance duckdb chdb" leaves parts out; FRESH=1 forgets what is measured;
# ARGS takes more (python -m benchmarks.hybrid --help). A run that was broken off goes on.
BENCH_VENV := .venv-bench

$(BENCH_VENV)/.peers: requirements.lock pyproject.toml benchmarks/hybrid/requirements.txt
	@$(PYTHON) tools/bootstrap.py $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip --quiet --disable-pip-version-check install \
		-r benchmarks/hybrid/requirements.txt
	@touch $@

bench-hybrid: $(BENCH_VENV)/.peers
	@$(BENCH_VENV)/bin/python -m benchmarks.hybrid --scale $(or $(SCALE),20k) \
		--model $(or $(MODEL),fitted) $(if $(PARTS),--parts $(PARTS)) $(if $(FRESH),--fresh) $(ARGS)

docs: $(VENV)/.installed
	@$(BIN)/python tools/cli_reference.py > docs/cli.md

lock:
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra demo --extra evaluate --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(VENV).lock .venv-bench .venv-bench.lock .venv-train .venv-train.lock \
		build dist .mypy_cache .pytest_cache .ruff_cache
