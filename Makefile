# The verbs people and CI share. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench crash fuzz docs clean
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys,venv;sys.exit(sys.version_info<(3,11))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 2
ROUNDS ?= 20
SECONDS ?= 10
VENV := .venv/bin

help:  ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

.venv/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Stafet needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"; exit 1; }
	@mkdir -p build
	@echo "Setting up .venv with $(PYTHON) from requirements.lock (detail: build/setup.log) ..."
	@{ test -x $(VENV)/python || $(PYTHON) -m venv .venv; } >build/setup.log 2>&1 \
	 && $(VENV)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock >>build/setup.log 2>&1 \
	 && $(VENV)/python -m pip install --disable-pip-version-check --no-build-isolation --no-deps -e . >>build/setup.log 2>&1 \
	 || { cat build/setup.log; echo "Set-up failed; the log above says why."; exit 1; }
	@touch $@

test: .venv/ready  ## set up and run the whole suite
	$(VENV)/python -m pytest -n $(WORKERS) tests

lint: .venv/ready  ## format, style, types, import contracts, tidy
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports

clean:  ## remove everything that was made
	rm -rf .venv build demo
