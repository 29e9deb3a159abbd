# One command each. Everything runs in .venv, made on first use and when a lock changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run test check docs stage deploy destroy bench lock format clean

help: ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: $(VENV)/.runtime ## start everything on one port (PORT=8080; BACKEND=emulators for Google's)
	@exec env ODAI_BACKEND=$(or $(BACKEND),$(ODAI_BACKEND),embedded) $(BIN)/python -m run.local serve

test: $(VENV)/.tools ## run every test
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

check: $(VENV)/.tools ## format, lint, layers, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

format: $(VENV)/.tools ## put the code into its form
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.runtime ## write what the documents generate from the code
	@$(BIN)/python -m run.local docs

stage: $(VENV)/.runtime ## lay out each function as it is deployed, under build/
	@$(BIN)/python -m run.local stage

deploy: $(VENV)/.runtime ## bring a private copy up in Google Cloud (PROJECT=my-project ENV=dev)
	@$(BIN)/python -m run.local deploy --project "$(PROJECT)" --env $(or $(ENV),dev) $(ARGS)

destroy: $(VENV)/.runtime ## take it down again (PROJECT=my-project ENV=dev)
	@$(BIN)/python -m run.local destroy --project "$(PROJECT)" --env $(or $(ENV),dev) $(ARGS)

bench: $(VENV)/.tools ## print every measured figure, side by side with the peer
	@$(BIN)/python -m tests.bench $(ARGS)

lock: ## renew requirements.txt from requirements.in
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q -r requirements.in
	@{ head -1 requirements.txt; { build/lock/bin/pip freeze; grep '==.*;' requirements.in; } | sort -u -f; } > build/requirements.txt
	@mv build/requirements.txt requirements.txt && rm -r build/lock

clean: ## remove what was made (not your data in .odai)
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "ODAI needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; \
	  exit 1; }
	@echo "Making $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements.txt | $(VENV)/bin/python
	@echo "Installing what ODAI needs (a minute, once) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.tools: tests/requirements.txt $(VENV)/.runtime
	@echo "Installing what checks and tests need …"
	@$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@
