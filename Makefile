# The project's commands. `make help` lists them; each installs what it needs first, and says what.

PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
PYTEST_ARGS ?=
COMPILE := .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --upgrade
PROJECT := pyproject.toml --extra agent --extra lab --extra live

# Without its cache of compiled modules every command starts twice as slowly as a user's.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test lint bench lock docs clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 16

demo: $(INSTALLED) ## run the three-tier application in the lab: four states, predicted and measured
	@scripts/setup packages lab application
	@$(PYTHON) scripts/demo.py

test: $(INSTALLED) ## run every test, with real packets where the machine allows (PYTEST_ARGS='-k name')
	@scripts/setup packages lab application
	@$(PYTHON) -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(INSTALLED) ## check style, types, the rooms' import contract, the shell scripts and the generated pages
	@scripts/setup packages lint
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	PYTHONPATH=src .venv/bin/lint-imports --no-logo
	shellcheck scripts/setup .ci/run
	$(PYTHON) -m scripts.gen_docs --check

bench: $(INSTALLED) ## measure the figures of docs/benchmarks.md on this machine
	@scripts/setup packages lab
	@for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(PYTHON) -m "benchmarks.$$(basename "$$script" .py)" || exit 1; done

lock: $(INSTALLED) ## compile requirements/*.txt again from pyproject.toml
	$(COMPILE) $(PROJECT) --output-file requirements/runtime.txt
	$(COMPILE) $(PROJECT) --group dev --output-file requirements/dev.txt
	$(COMPILE) --group side-by-side --output-file requirements/side-by-side.txt

docs: $(INSTALLED) ## write the pages that come from the code again (docs/cli.md, docs/rules)
	$(PYTHON) -m scripts.gen_docs

clean: ## remove the Python environment and every cache
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements/dev.txt pyproject.toml
	@scripts/setup python
	@touch $@
