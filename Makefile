# Tidegate's tasks. `make` alone lists them.
.DEFAULT_GOAL := help
# Any Python from 3.11 on; looked for only when there is no environment yet.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
# Most tests wait for something most of the time.
WORKERS ?= 3

.PHONY: help setup run test lint format documents bench chaos conformance fuzz properties dist clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

# The stamps are newer than pyproject.toml while the environment is up to date, so a second start costs nothing.
# `make run` has its own: a newcomer need not wait for what only the tests need.
WHAT_RUNS := gateway,embedded

define install
	@test -x $(BIN)/python || test -n "$(PYTHON)" || { \
		echo "Tidegate needs Python 3.11 or newer, and there is none here: make PYTHON=/path/to/python"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; exit 1; }
	@echo "Installing into .venv …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(1)]'
	@touch $@
endef

.venv/installed: pyproject.toml
	$(call install,dev)
	@touch .venv/runnable

.venv/runnable: pyproject.toml
	$(call install,$(WHAT_RUNS))

setup: .venv/installed ## create .venv and install everything into it

run: .venv/runnable ## run a gateway in dev mode, on an embedded Redis
	@exec $(BIN)/python -m gateway serve -c etc/gateway.dev.yaml

test: .venv/installed ## run all tests, linters and the type checker
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

lint: .venv/installed ## run the linters and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

documents: .venv/installed ## make docs/asyncapi.yaml and docs/openapi.json anew from the code
	@$(BIN)/python -m gateway asyncapi > docs/asyncapi.yaml.new && mv docs/asyncapi.yaml.new docs/asyncapi.yaml
	@$(BIN)/python -m gateway openapi > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

bench: .venv/installed ## measure speed and memory against a hand-written hub and the kernel's limit
	@$(BIN)/python -m tests.bench

chaos: .venv/installed ## break it under load and count what was lost; LONG=1, SEED=…, ONLY=…
	@$(BIN)/python -m tests.chaos $(if $(LONG),--long) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

dist: .venv/installed ## build the wheel and the source distribution into dist/
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation --outdir dist .
	@ls dist

conformance: .venv/installed ## run the Autobahn cases against the server; CASES=short for what CI runs
	@$(BIN)/python -m tests.conformance $(CASES)

fuzz: .venv/installed ## feed a million hostile inputs to everything that reads; INPUTS=, SEED= and TARGET= to choose
	@$(BIN)/python -m tests.fuzz $(if $(INPUTS),--inputs $(INPUTS)) $(if $(SEED),--seed $(SEED)) $(if $(TARGET),--target $(TARGET))

properties: .venv/installed ## try the property tests with thousands of examples, other ones each time
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --hypothesis-profile=thorough -m hypothesis

clean: ## remove the environment and the development state
	rm -rf .venv .tidegate build dist *.egg-info
