# What people do with this checkout. Each target makes what it needs; `make help` lists them.

PYTHON ?= python3
INSTANCES ?= 2
SCENARIO ?= crowd
FUZZ ?= 10
VENV := .venv
BIN := $(VENV)/bin
# What is installed in .venv, by extra of pyproject.toml. `dev` brings all the others.
DEMO := $(VENV)/.demo
EXAMPLES := $(VENV)/.examples
TOOLS := $(VENV)/.tools
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo cluster jobs jobs-report test test-quick failures fuzz mutants lint format audit dist docs docs-serve pictures loadtest chaos bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with all that tests and tools need

$(DEMO): EXTRA := demo
$(EXAMPLES): EXTRA := examples
$(TOOLS): EXTRA := tools
$(READY): EXTRA := dev

$(DEMO) $(EXAMPLES) $(TOOLS) $(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "waitroom needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try make PYTHON=python3.12"; exit 1; }
	@[ -x $(BIN)/pip ] || { echo "Making $(VENV), an environment of its own ..."; $(PYTHON) -m venv $(VENV); } || \
		{ echo "cannot create $(VENV): on Debian install python3-venv, and check that this folder is writable"; exit 1; }
	@$(BIN)/python -m supply.install $(EXTRA)
	@touch $(if $(filter dev,$(EXTRA)),$(DEMO) $(EXAMPLES) $(TOOLS)) $@

demo: $(DEMO) ## run it all: two instances, nginx, a shop and a crowd, on http://127.0.0.1:8080/
	@exec $(BIN)/waitroom demo $(ARGS)

cluster: $(TOOLS) ## run deploy/compose.yaml as plain processes: INSTANCES=2; Linux only
	@exec $(BIN)/python deploy/cluster.py --instances $(INSTANCES) $(ARGS)

jobs: $(EXAMPLES) ## run the job service of examples/jobs on http://127.0.0.1:8090/
	@exec $(BIN)/python -m examples.jobs.run $(ARGS)

jobs-report: $(EXAMPLES) ## what it does with 50 to 200 jobs, 10 to 50 at once (ARGS="100/20": one of them)
	@$(BIN)/python -m examples.jobs.report $(ARGS)

# Eight workers keep two cores busy: most tests wait for something most of the time. tests/conftest.py says what comes first.
WORKERS := -n 8 --dist loadfile --no-loadscope-reorder

test: $(READY) ## run the tests; installs the servers and the browser they want where it can
	@sh tests/install.sh
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

# Not what is marked, not the second engine, not whole folders of processes, nginx, outages and hostile input.
QUICK := -m "not system and not browser and not long" -k "not [redis] and not [redis-" $(addprefix --ignore=tests/, \
	asgi benchmarks cli demo deploy examples faults fuzz security serve)

test-quick: $(READY) ## 90 s of them: no browser, nginx, whole processes, outages, load, long histories or second engine
	$(BIN)/python -m pytest $(WORKERS) $(QUICK) $(ARGS)

fuzz: $(READY) ## hostile input, FUZZ times as much of it as in `make test` (10); WAITROOM_FUZZ_SEED=2: another chance
	WAITROOM_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 2 --timeout 1800 tests/fuzz $(ARGS)

mutants: $(READY) ## put small faults into the code, see that tests notice: hours; ARGS="lua lease", "python gate"
	nice $(BIN)/python -m tests.mutants $(ARGS)

lint: $(READY) ## ruff, mypy strict, and imports that go down only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code into shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

audit: $(READY) ## what bandit finds in the code, and what is known of the packages in constraints.txt
	@$(BIN)/python -m supply.audit

dist: $(READY) ## the wheel in dist/, and the bill of materials of all that it brings along
	@$(BIN)/python -m supply.dist

docs: $(READY) ## the site in site/, made of docs/; a dead link or heading ends it
	@$(BIN)/python -m supply.site

docs-serve: $(READY) ## show the site while it is written, on http://127.0.0.1:8000/; ARGS="-a 127.0.0.1:8001"
	@exec $(BIN)/zensical serve $(ARGS)

pictures: $(READY) ## take the pictures in docs/pictures/ of a running demo, with Chromium
	@sh tests/install.sh
	@$(BIN)/python -m supply.pictures

failures: $(READY) ## bring every fault about for as long as in life, and write the table in docs/explanation/failures.md
	@sh tests/install.sh
	@$(BIN)/python -m tests.faults.table $(ARGS)

loadtest: $(TOOLS) ## a crowd and a verdict on what it saw: SCENARIO=crowd, capacity, scale, herd, ramp, soak, reconnect
	@exec $(BIN)/python -m loadtest $(SCENARIO) $(ARGS)

chaos: $(TOOLS) ## faults drawn from a seed under a crowd, and a verdict: SEED=1 MINUTES=2
	@exec $(BIN)/python -m chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(ARGS)

bench: $(TOOLS) ## measure it all, beside bare uvicorn in the same run; ARGS="--quick" (needs wrk)
	@$(BIN)/python -m benchmarks $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) dist site .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
