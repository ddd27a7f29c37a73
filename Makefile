# The verbs people and CI share. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo test lint cover bench crash faults interop fuzz api docs clean
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

demo: .venv/ready  ## send a message between two organisations, kill one of them, see it arrive (FILE=… sends yours)
	@$(VENV)/stafet demo $(if $(FILE),--file "$(FILE)")

lint: .venv/ready  ## format, style, types, import contracts, tidy, made pages
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/mypy
	$(VENV)/lint-imports
	$(VENV)/python -m pytest -q tests/tidy
	$(VENV)/python scripts/docs.py --check

cover: .venv/ready  ## every pure module fully covered by its own tests
	$(VENV)/python scripts/pure_coverage.py -n $(WORKERS)

bench: .venv/ready  ## every benchmark, as ratios taken in one run (ONLY=exchanges, large, seal, backlog, handover, as4, tracking, fanout, routing, urgent, nodes or phase4; phase4 needs a JDK and Maven)
	$(VENV)/python -W ignore::UserWarning -m bench $(if $(ONLY),--only $(ONLY))

crash: .venv/ready  ## kill nodes under load and compare the books (ROUNDS=n)
	$(VENV)/python -m conformance.crash --rounds $(ROUNDS)

faults: .venv/ready  ## make faults on purpose and show how each is explained; writes docs/how-to/explain-a-refusal.md
	$(VENV)/python -W ignore::UserWarning -m conformance.faults --page docs/how-to/explain-a-refusal.md

interop: .venv/ready  ## exchange with other makers' access points (needs a JDK 17 and Maven); writes docs/interop.md
	$(VENV)/python -W ignore::UserWarning -m conformance.interop --page docs/interop.md

fuzz: .venv/ready  ## every fuzz target (SECONDS=n in all)
	$(VENV)/python -m tests.fuzz --seconds $(SECONDS)

api: .venv/ready  ## hold the REST gateway's answers against its OpenAPI document (SECONDS=n)
	$(VENV)/python -m tests.gateways.rest.exploring --seconds $(SECONDS)

docs: .venv/ready  ## reference pages and docs/requirements.md, made from the code
	$(VENV)/python scripts/docs.py

clean:  ## remove everything that was made
	rm -rf .venv build demo
