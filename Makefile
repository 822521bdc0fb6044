# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Each target is one step; CONTRIBUTING.md spells every one out for machines without make (Windows).

PYTHON ?= python3
WORKERS ?= 2
SEEDS ?= 1000
SEQUENCES ?= 60
PY = .venv/bin/python
READY = .venv/.ready
OLD_PYTHON = Tillbridge needs Python 3.11 or newer, $(PYTHON) is older or missing. Install it, or name another one: make setup PYTHON=python3.12

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format types faults restores powercut sim store golden wheels packages locks test-installers clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Create .venv and install the three distributions and the tools (once)

$(READY): pyproject.toml constraints.txt protocol/pyproject.toml agent/pyproject.toml server/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: $(OLD_PYTHON)" >&2; exit 1; }
	@echo "setup: creating .venv with `$(PYTHON) --version` and installing protocol, agent, server and the tools (a minute or two, once)"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install -qq --disable-pip-version-check --upgrade "pip>=25.1"
	@$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ./protocol -e ./agent -e ./server --group dev
	@touch $(READY)

demo: setup ## Server, shop window, one agent and a selling till; SECONDS=30 SEED=1 runs unattended
	@$(PY) -m tests.demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

test: check ## Lint, types and every test that is not slow (under 5 minutes)
	@echo "test: pytest with $(WORKERS) workers, without the slow tests"
	@$(PY) -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

check: setup ## Lint and types only (seconds)
	@echo "check: ruff, then mypy --strict"
	@$(PY) -m ruff check --output-format concise .
	@$(PY) -m mypy

format: setup ## Sort imports and apply the safe fixes of ruff
	@$(PY) -m ruff check --fix .

types: setup ## mypy --strict over the three packages
	@$(PY) -m mypy

faults: setup ## Kill agent and server at named points, seed by seed (slow)
	@echo "faults: agent and server are killed at every named crash point"
	@$(PY) -m pytest tests/faults -m slow -s --ignore tests/faults/powercut --ignore tests/faults/test_restores.py

restores: setup ## Databases put back, agents lost or copied, acks lost, around a web order (slow)
	@echo "restores: one web order, imported once or not at all and somebody is told"
	@$(PY) -m pytest tests/faults/test_restores.py -m slow -rP -n $(WORKERS) --dist worksteal

powercut: setup ## Cut the power at every system call of placing an order; needs strace (slow)
	@echo "powercut: a placement is recorded under strace, and begun anew after a power cut at every boundary"
	@$(PY) -m pytest tests/faults/powercut -m slow -rs

sim: setup ## The seeded simulation of fleet and wire; SEEDS=n says how many seeds
	@echo "sim: $(SEEDS) seeds"
	@$(PY) -m pytest tests/simulation -n $(WORKERS) --dist worksteal --seeds $(SEEDS)

store: setup ## Random sequences told to SQLite and PostgreSQL; SEQUENCES=n says how many
	@echo "store: $(SEQUENCES) sequences"
	@$(PY) -m pytest tests/integration/store -n $(WORKERS) --dist worksteal --sequences $(SEQUENCES)

golden: setup ## Write the expected files of tests/golden anew; review the difference before committing
	@$(PY) -m pytest tests/golden --update-golden

wheels: setup ## Build the three wheels into dist/
	@$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./protocol ./agent ./server
	@ls dist

packages: setup ## Build the .deb packages of agent and server into dist/
	@$(PY) installer/build.py linux-agent
	@$(PY) installer/build.py linux-server

locks: setup ## Write installer/locks anew, after a change of constraints.txt or of dependencies
	@$(PY) installer/build.py locks

test-installers: setup ## Install, kill, upgrade, downgrade, remove, purge in a booted container (root; minutes)
	@$(PY) -m tests.installers

clean: ## Remove what tests, demo and builds left behind (.venv stays)
	@rm -rf .demo .build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
