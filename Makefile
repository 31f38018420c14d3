# Every task of this project. `make` lists them; continuous integration calls the same ones.

# The version floor is pyproject.toml's; tests/deploy/test_container_files.py compares the two.
PYTHON_MINOR := 11
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.lock
STAMP := $(VENV)/installed-lock

PORT ?=
ARGS ?=
WORKERS ?= 3

# Without bytecode every worker would compile all tests anew: ten seconds for each.
unexport PYTHONDONTWRITEBYTECODE

# Prints one line that names the lock and the interpreter that it was installed for.
FINGERPRINT = import hashlib, sys; \
	lock = open("$(LOCK)", "rb").read(); \
	print(hashlib.sha256(lock).hexdigest(), *sys.version_info[:3])

# True where an interpreter is new enough and runs at all (a pyenv shim may not).
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, $(PYTHON_MINOR)))

.DEFAULT_GOAL := help
.PHONY: help setup dev test test-all test-container check format-check lint types imports audit bench models-page chaos format lock clean

help: ## Lists these tasks.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamp goes first and comes back last, so an interrupted install is
# done again; without it a second `make` does not even start pip.
setup: ## Makes .venv and installs what the other tasks need; does nothing the second time.
	@set -e; \
	if [ -x $(BIN)/python ] && [ -f $(STAMP) ] && \
	   [ "$$($(BIN)/python -c '$(FINGERPRINT)' 2>/dev/null)" = "$$(cat $(STAMP))" ]; then \
		exit 0; \
	fi; \
	python=; \
	for candidate in python3 python3.11 python3.12 python3.13 python3.14; do \
		if $$candidate -c '$(NEW_ENOUGH)' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Paintonce needs Python 3.$(PYTHON_MINOR) or newer; found: $$(python3 --version 2>&1 || true)" >&2; \
		exit 1; \
	fi; \
	rm -f $(STAMP); \
	if ! { $(BIN)/python -c '$(NEW_ENOUGH)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
		echo "Making $(VENV) with $$($$python --version)"; \
		if ! $$python -m venv --clear $(VENV); then \
			echo "No virtual environment: on Debian and Ubuntu, apt-get install python3-venv" >&2; \
			exit 1; \
		fi; \
	fi; \
	echo "Installing $(LOCK); this takes about a minute, once"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes --no-deps -r $(LOCK); \
	$(BIN)/python -c '$(FINGERPRINT)' > $(STAMP)

# Without PORT the program decides: its settings, else 8080.
dev: setup ## Serves on http://127.0.0.1:8080 with nothing but Python; PORT=9000 takes another port.
	@exec $(BIN)/python -m app dev $(if $(PORT),--port $(PORT))

test: setup ## Runs the tests and the servers that they need; ARGS="-k lighthouse" picks some.
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long and not container" $(ARGS)

test-all: setup ## The same, and the tests that are marked `long`.
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not container" \
		--hypothesis-profile thorough $(ARGS)

# By itself, because it keeps both cores busy while it builds.
test-container: setup ## Builds the image without a Docker engine, and runs it; needs root and Debian's podman.
	@$(BIN)/python -m pytest -n 0 -m container $(ARGS)

check: format-check lint types imports audit ## Formatting, lint, types, import contracts, dependency audit.

format-check: setup ## Only the formatting.
	@$(BIN)/ruff format --check .

lint: setup ## Only the lint.
	@$(BIN)/ruff check .

types: setup ## Only the types.
	@$(BIN)/mypy

imports: setup ## Only the import contracts.
	@$(BIN)/lint-imports

audit: setup ## Only the dependency audit; CI_STRICT_AUDIT=1 fails where it can't look anything up.
	@$(BIN)/python .ci/audit.py $(LOCK)

bench: setup ## Measures, and prints ratios from one run.
	@$(BIN)/python -m benchmarks $(ARGS)

models-page: setup ## Writes docs/reference/models.md from the tables of models.
	@$(BIN)/python -m tests.documents.models_page

chaos: setup ## Kills, freezes and cuts things under load, and checks the promises.
	@$(BIN)/python -m tests.faults.chaos $(ARGS)

format: setup ## Formats the code and repairs what lint can repair by itself.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

LOCKED = $(BIN)/uv pip compile --quiet --universal --python-version 3.$(PYTHON_MINOR) \
	--generate-hashes --no-emit-index-url --no-header pyproject.toml

lock: setup ## Writes both lock files anew from pyproject.toml; UPGRADE=1 takes newer versions.
	@$(LOCKED) $(if $(UPGRADE),--upgrade) -o requirements.lock
	@$(LOCKED) $(if $(UPGRADE),--upgrade) --extra development -o $(LOCK)

clean: ## Removes what the tasks made, but not the pictures in var/.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find app tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
