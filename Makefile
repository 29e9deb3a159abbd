# One command each. Everything runs in .venv, made on first use and when a lock changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# For every platform and Python at once, with the hashes of all their files; no address of an index.
# httpx2-jsfetch is for browsers, where this does not run.
LOCK = build/lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-header --no-annotate --no-emit-package httpx2-jsfetch

.DEFAULT_GOAL := help
.PHONY: help run test check docs stage deploy destroy soak bench lock supply format clean

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

deploy: $(VENV)/.runtime ## bring a private copy up in Google Cloud (PROJECT=my-project ENV=dev; ARGS=--yes asks nothing)
	@$(BIN)/python -m run.local deploy --project "$(PROJECT)" --env $(or $(ENV),dev) $(ARGS)

destroy: $(VENV)/.runtime ## take it down again (PROJECT=my-project ENV=dev)
	@$(BIN)/python -m run.local destroy --project "$(PROJECT)" --env $(or $(ENV),dev) $(ARGS)

soak: $(VENV)/.tools ## run the long forms (ARGS="faults load" runs these of: faults kills chaos jobs injection browser load fuzz)
	@$(BIN)/python -m tests.soak $(ARGS)

bench: $(VENV)/.tools ## print every measured figure, side by side with the peer (ARGS=--quick; ARGS="--only cpu --sockets 50")
	@$(BIN)/python -m tests.bench $(ARGS)

lock: ## renew both locks (ARGS="-P flask" renews one package only)
	@$(PYTHON) -m venv build/lock && build/lock/bin/pip install -q --disable-pip-version-check uv==0.13.9
	@$(LOCK) $(or $(ARGS),--upgrade) requirements.in -o requirements.txt
	@$(LOCK) $(or $(ARGS),--upgrade) tests/requirements.in -c requirements.txt -o tests/requirements.txt
	@sed -i.old '1i # Pinned lock of requirements.in, the one every deployable gets: for every platform, with the hashes of\n# every file that may be installed. Made by `make lock`.' requirements.txt
	@sed -i.old '1i # Pinned lock of tests/requirements.in, which goes on top of requirements.txt. Made by `make lock`.' tests/requirements.txt
	@rm -r build/lock requirements.txt.old tests/requirements.txt.old

supply: $(VENV)/.tools ## count, audit and list what is installed; write build/sbom.json
	@$(BIN)/python -m tests.supply $(ARGS)

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
