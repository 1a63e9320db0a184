# `make` prepares everything and lists what there is to do.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# Tests start dozens of programs: without byte code each of them would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo fixtures notebooks test thorough accuracy check clients conformance dist faults brokers bench page migrate lock format

help: install ## list these targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## create .venv from the lock file

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Gridgate needs Python 3.11 or newer: make PYTHON=python3.11")'
	@echo "Gridgate installs its packages into .venv: this once, and again when they change. It takes a minute or two."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install ## the whole system on this machine, with a simulated fleet of 50 VENs, and 5 that speak OpenADR
	$(BIN)/python -m local --fleet 50 --openadr-fleet 5 --interval 5 --backfill 6 --make demo $(ARGS)

fixtures: install ## the whole system, with a small world that is always the same: docs/fixtures.md
	$(BIN)/python -m local --fixtures --make fixtures $(ARGS)

notebooks: install ## run every notebook on the sample, and keep what they say
	$(BIN)/python -m analysis.sample $(BIN)/python -m tests.notebooks.execution

test: install ## the tests of an engineer's day, against a real PostgreSQL and a real broker
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not bench and not brokers and not clients and not faults and not thorough and not accuracy and not conformance"

thorough: install ## what takes long: programs as processes, whole events, tests of the tests, notebooks
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m thorough --durations 25

accuracy: install ## score forecasts and intervals on simulated fleets, and print the figures (10 minutes)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m accuracy -rfEsP

check: install ## format, lint, types, imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

format: install ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

faults: install ## kill, cut and fill what ingest depends on (needs mosquitto; minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m faults -rfEsP

clients: install ## clients that tools make of docs/backend-api.yaml (needs npm)
	$(BIN)/python -m pytest -m clients -rfEsP tests/clients

dist: install ## wheel, sdist, clients, bill of materials, checksums: what a release is made of
	$(BIN)/python -m deploy.release $(ARGS)

conformance: install ## the document of the OpenADR specification against our service: SPECIFICATION=path/openadr3.yaml
	SPECIFICATION=$(SPECIFICATION) $(BIN)/python -m pytest -m conformance -rfEsP tests/integration/test_openadr_conformance.py --examples $${EXAMPLES:-100}

brokers: install ## brokers other than mosquitto (needs rabbitmq-server, nats-server and ejabberd)
	$(BIN)/python -m pytest -m brokers tests/faults

bench: install ## ratios against the machine's limits
	$(BIN)/python -m pytest -m bench -s tests/bench

page: install ## the dashboard with 10,000 VENs and an event, for BENCH_PAGE_S (an hour): memory, processor, frames (needs chromium, mosquitto)
	BENCH_PAGE_S=$${BENCH_PAGE_S:-3600} $(BIN)/python -m pytest -m bench -s tests/bench/test_bench_dashboard.py

migrate: install ## bring the database of DATABASE_URL to head
	$(BIN)/alembic upgrade head

lock: install ## resolve the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	    --extra dev --no-header --no-annotate \
	    pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	    --constraint requirements.lock --no-header --no-annotate \
	    pyproject.toml -o requirements-run.lock
