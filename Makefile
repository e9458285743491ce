# Each target sets up what it needs by itself and may be run again at any time.
# Extra arguments: make test ARGS="-k stop". Another interpreter: make PYTHON=/path/to/python3 setup.

VENV := .venv/bin
ARGS ?=
# Many tests wait for processes: one worker more than a small machine has cores. JOBS=0 runs them in one process.
JOBS ?= 3
PYTHON ?=
export PYTHON
# pyright would ask the network whether there is a newer one.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo dev test check storm bench dist clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup: ## prepare .venv (the others do it by themselves)
	@./scripts/setup.sh

demo: setup ## a whole pipeline on real data: server, agents, run, replay, verify
	@$(VENV)/python examples/iris/demo.py $(ARGS)

dev: setup ## server, agents and page on this machine, until Ctrl-C
	@$(VENV)/foldline-server dev $(ARGS)

test: setup ## all tests, on a real PostgreSQL too
	@$(VENV)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

check: setup ## lint, format, types, import contracts
	@echo "ruff: lint"
	@$(VENV)/python -m ruff check .
	@echo "ruff: format"
	@$(VENV)/python -m ruff format --check .
	@echo "pyright: types"
	@$(VENV)/python -m pyright --pythonpath $(VENV)/python
	@echo "import contracts"
	@$(VENV)/lint-imports --no-logo

storm: setup ## the long tests: races and kills, again and again
	@$(VENV)/python -m pytest -m storm $(ARGS)

bench: setup ## measure on this machine, beside the raw drivers and the peers: one line of JSON a case
	@./scripts/setup-bench.sh
	@$(VENV)/python -m bench.run $(ARGS)

dist: setup ## build both wheels and source archives into dist/
	@rm -rf dist
	@$(VENV)/python -m hatchling build -d dist
	@cd sdk && ../$(VENV)/python -m hatchling build -d ../dist

clean: ## remove what make made; the data of `make dev` stays
	@rm -rf .venv .venv-bench dist build .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
