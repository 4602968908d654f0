# Two commands are all a user needs: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test check lint types imports unit bench docs lock clean

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

bench: $(VENV)/.installed
	@$(BIN)/python -m benchmarks

docs: $(VENV)/.installed
	@$(BIN)/python tools/cli_reference.py > docs/cli.md

lock:
	uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra demo --extra evaluate --group dev pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) $(VENV).lock build dist .mypy_cache .pytest_cache .ruff_cache
