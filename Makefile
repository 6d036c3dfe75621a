# The one way in: make setup, demo, test, lint, bench, lock. Needs Python 3.11 or newer with its venv module, and git.
# ARGS reaches the program: make test ARGS='tests/unit -x'. PYTHON names another Python for make setup.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup demo test test-keycloak lint bench lock

VENV := .venv
BIN := $(VENV)/bin
# Written last: a setup that was interrupted is not taken for done.
READY := $(VENV)/.ready
BUSY := $(VENV)/.busy
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTHONS := $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14)
AT_LEAST := import sys; sys.exit(sys.version_info < (3, 11))

# The programs in a .venv name its folder. One that was moved or copied here would run the other tree's code.
ifeq ($(shell grep -sF '$(CURDIR)/$(VENV)' $(BIN)/activate),)
MOVED := moved
.PHONY: moved
moved:
endif

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1@/p' Makefile | awk -F@ '{ printf "%-22s%s\n", $$1, $$2 }'

setup: $(READY) ## make .venv, with everything in it exactly as locked

demo: $(READY) ## start Kafka, PostgreSQL, Valkey and the service, and watch sessions end
	@exec $(BIN)/revoker demo $(ARGS)

test: $(READY) ## all tests; ARGS='tests/unit -x' for some
	@exec $(BIN)/pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

test-keycloak: $(READY) ## try a real Keycloak, too: fetches 170 MB once, takes two minutes
	@REVOKER_TEST_KEYCLOAK=1 exec $(BIN)/pytest tests/keycloak $(ARGS)

lint: $(READY) ## format, lint, types, import contracts, dependencies, generated documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python -m schemas.export --check docs/reference
	$(BIN)/python -m revoker.core.vectors --check docs/vectors

bench: $(READY) ## measure, against the bare servers
	@exec $(BIN)/python -m benchmarks $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

lock: $(READY) ## write down versions and hashes of what pyproject.toml asks for; ARGS=--upgrade for newer ones
	$(COMPILE) pyproject.toml --extra http --extra service --extra embedded --extra otel --group dev \
		--output-file requirements/development.txt $(ARGS)
	$(COMPILE) pyproject.toml --extra service --constraint requirements/development.txt \
		--output-file requirements/service.txt
	$(COMPILE) --group bootstrap --constraint requirements/development.txt \
		--output-file requirements/bootstrap.txt

# pip, which every Python has, installs uv against its hashes; uv installs the rest in a tenth of the time. Where only
# pip knows the way (an index or a proxy in its own configuration), pip does it all, against the same hashes.
# Another setup at work is waited for; one that left off half-way left half a package, and is begun anew.
$(READY): requirements/bootstrap.txt requirements/development.txt pyproject.toml $(MOVED)
	@set -e; rm -f $@; python=; anew=$(MOVED); \
	for each in $(PYTHONS); do if "$$each" -c '$(AT_LEAST)' 2>/dev/null; then python=$$each; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo 'This needs Python 3.11 or newer; none of these is: $(PYTHONS). Name one: make setup PYTHON=...' >&2; exit 1; \
	fi; \
	if [ -f $(BUSY) ]; then \
		for second in $$(seq 120); do kill -0 "$$(cat $(BUSY) 2>/dev/null)" 2>/dev/null || break; sleep 1; done; \
		if [ -f $(BUSY) ]; then anew=left-off; fi; \
	fi; \
	if [ -n "$$anew" ] || ! $(BIN)/python -c '$(AT_LEAST)' 2>/dev/null || ! $(PIP) --version >/dev/null 2>&1; then \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv --clear $(VENV) || { \
			echo 'This Python has no venv module (on Debian and Ubuntu: apt install python3-venv).' >&2; exit 1; }; \
	fi; \
	echo $$$$ >$(BUSY); \
	echo 'Installing what is locked, checked against its hashes'; \
	$(PIP) install --quiet --require-hashes -r requirements/bootstrap.txt; \
	{ ! $(PIP) config list | grep -qE "(index-url|no-index|proxy)='" && $(BIN)/uv pip install --quiet \
		--python $(BIN)/python --require-hashes -r requirements/development.txt; } || \
	$(PIP) install --quiet --require-hashes -r requirements/development.txt; \
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .; \
	rm -f $(BUSY); touch $@
