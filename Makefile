# Environments are made when missing, and again when the requirements that they are made of change: two at a time.
MAKEFLAGS += --jobs=2
export PYTHON ?= python3
RUNTIME = salt/minion/files/requirements.txt
PYTHON_VERSIONS = 310 311 312 313
TESTED = .venv/installed .venv-3006/installed .venv-scrapyd/installed .venv-deposit/installed \
    .venv-data-registry/installed

.PHONY: help demo demo-down fleet fleet-down test lint bench docs clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/installed .venv-scrapyd/installed ## Archive real crawls with a real master and minion (KEEP=1: leave them running)
	@.venv/bin/python -m demo.run $(if $(KEEP),--keep)

demo-down: ## Stop a demo that was left running
	@python3 -m demo.down

fleet: .venv/installed ## Boot hosts with a master, as root on Debian, and say how to look around
	@.venv/bin/python -m tests.fleet.demo

fleet-down: ## Take the hosts of make fleet down
	@.venv/bin/python -m tests.fleet.demo --down

test: $(TESTED) ## Run all tests
	@requirements/system tests
	@.venv/bin/python tests/run

lint: .venv/installed ## Check style, types, YAML files, and that no file names a package registry
	@.venv/bin/ruff check --quiet
	@.venv/bin/ruff format --quiet --check
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/python .ci/check_files.py

bench: .venv-bench/installed ## Measure, against what people use today
	@.venv-bench/bin/python -m bench

docs: ## Check the links between the pages
	@python3 docs/check

clean: demo-down ## Remove all that was made here
	@rm -rf .demo .salt .test .venv .venv-* .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: requirements/salt-3008.txt requirements/test.txt requirements/unit.txt requirements/services.txt \
    requirements/lint.txt $(RUNTIME)
.venv-3006/installed: requirements/salt-3006.txt requirements/test.txt requirements/unit.txt requirements/services.txt \
    $(RUNTIME)
.venv-scrapyd/installed: requirements/scrapyd.txt
.venv-deposit/installed: requirements/deposit.txt salt/swh/deposit/files/requirements.txt
.venv-data-registry/installed: requirements/data-registry.txt
.venv-bench/installed: requirements/bench.txt requirements/services.txt $(RUNTIME)
$(PYTHON_VERSIONS:%=.venv-py%/installed): requirements/unit.txt $(RUNTIME)

%/installed:
	@requirements/install $* $(filter requirements/%,$^)
