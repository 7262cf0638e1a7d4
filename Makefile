# Every target says what it does: `make help`. The work is done by .venv/bin/kasparro; `kasparro --help` says more.

# The first Python 3.11 or later; another one: make PYTHON=/path/to/python3 …
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; exit; }; \
	done; echo python3)
BIN := .venv/bin
INSTALLED := .venv/.installed
# Compiled once here, and not by each process, of which every run is one
IMPORTED := import dagster._daemon.cli, dagster_webserver.cli, kasparro_api.app, kasparro_pipeline.definitions
# What is measured beside ours, apart from it
PEERS_INSTALLED := .venv-peers/.installed
# Copies, not links: as root, the stack opens PostgreSQL's files to another account, which may not reach uv's cache
UV := UV_LINK_MODE=copy $(BIN)/uv
COMPILE := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate \
	--python-version 3.11

.DEFAULT_GOAL := help
.PHONY: help up down status logs etl test bench bench-api lint format lock clean

help: ## Say what there is
	@echo "usage: make <target>"; echo
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 12
	@echo; echo "Settings: environment variables or .env, see .env.example"

up: $(INSTALLED) ## Install if needed, start everything, run every source once; Ctrl-C stops it
	@exec $(BIN)/kasparro up

down: $(INSTALLED) ## Stop what `make up` started, from another terminal
	@exec $(BIN)/kasparro down

status: $(INSTALLED) ## Say what runs, where, and what each source did last
	@$(BIN)/kasparro status || [ $$? -eq 3 ]

logs: $(INSTALLED) ## Show the end of the logs; one of them, going on: make logs ARGS="-f daemon"
	@exec $(BIN)/kasparro logs $(ARGS)

etl: $(INSTALLED) ## Run every source now and wait, with progress and a summary
	@exec $(BIN)/kasparro etl

test: $(INSTALLED) ## Run the tests; some of them: make test ARGS="tests/unit -k cursor"
	@exec $(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

bench-api: $(INSTALLED) ## Measure the read API (20 minutes); less: make bench-api ROWS=100000 ROUNDS=1 ONLY=rates
	@exec $(BIN)/python -m tests.benchmarks.read_api $(ARGS)

bench: $(INSTALLED) $(PEERS_INSTALLED) ## Measure loading beside dlt (an hour); less: make bench ROWS=100000 ROUNDS=1 ONLY=w1
	@exec $(BIN)/python -m tests.benchmarks.load $(ARGS)

lint: $(INSTALLED) ## Check format, lint rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED) ## Format the code and apply the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(INSTALLED) ## Resolve the dependencies again and write requirements/*.lock
	echo uv | $(COMPILE) --upgrade - --output-file requirements/bootstrap.lock
	$(COMPILE) --upgrade pyproject.toml --group dev --output-file requirements/dev.lock
	$(COMPILE) --upgrade pyproject.toml --constraint requirements/dev.lock --output-file requirements/run.lock
	$(COMPILE) --upgrade --group pyproject.toml:peers --output-file requirements/peers.lock

clean: ## Stop the stack; remove .venv, caches and build files. The data in .kasparro stay
	@if [ -x $(BIN)/kasparro ]; then $(BIN)/kasparro down; fi
	rm -rf .venv .venv-peers .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements/bootstrap.lock requirements/dev.lock
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON). Install Python 3.11 or later." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "This needs Python 3.11 or later; \
	$(PYTHON) is %d.%d. Name another one: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" % v[:2])'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		--requirement requirements/bootstrap.lock
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes --requirement requirements/dev.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -c "$(IMPORTED)"
	@touch $@

$(PEERS_INSTALLED): $(INSTALLED) requirements/peers.lock
	@$(UV) venv --quiet --clear --python $(BIN)/python .venv-peers
	@$(UV) pip install --quiet --compile-bytecode --python .venv-peers/bin/python --require-hashes \
		--requirement requirements/peers.lock
	@touch $@
