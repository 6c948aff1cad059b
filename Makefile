PYTHON ?= python3
BIN := .venv/bin
PY := $(BIN)/python
PIP := $(PY) -m pip install --disable-pip-version-check -qq -c constraints.txt
READY := .venv/ready

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## set everything up and run the main job on real models
	$(BIN)/mvc demo

test: $(READY) ## set everything up and run the tests
	$(PY) -m pytest -m "not long"

check: $(READY) ## what CI runs: ruff, mypy and the tests
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
	@$(MAKE) --no-print-directory test

faults: $(READY) ## the long fault suites
	@$(PY) -m tests.support.tools
	$(PY) -m pytest -m long -o faulthandler_timeout=0

bench: $(READY) ## benchmarks, side by side with the peers found installed
	@$(PIP) -e '.[bench]'
	$(PY) -m tests.bench

bless: $(READY) ## rewrite transcripts and pages that teach from what mvc prints now
	MVC_BLESS=1 $(PY) -m pytest tests/transcripts tests/docs

docs: $(READY) ## build the site: build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build -q --strict -f docs/site/mkdocs.yml
	@echo build/site/index.html

size: ## lines of code per module
	@find mvc -name '*.py' -exec awk '!/^[ \t]*(#|$$)/ { n[FILENAME]++; all++ } END { for (f in n) printf "%6d %s\n", n[f], f; printf "%6d all\n", all }' {} + | sort -n

# Made once, and again when a requirement changes. Torch is optional: without it everything
# else still works, so a machine that cannot have it is told in one line and goes on.
$(READY): pyproject.toml constraints.txt
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo "setting up .venv (some minutes the first time)"
	@$(PIP) -e '.[test,docs]'
	@$(PIP) -e '.[torch]' >.venv/torch.log 2>&1 || echo "note: torch cannot be installed here (.venv/torch.log says why); going on without it"
	@$(PIP) -e '.[lightning,transformers]' >.venv/trainers.log 2>&1 || echo "note: Lightning and transformers cannot be installed here (.venv/trainers.log says why); going on without them"
	@touch $@

.PHONY: help demo test check faults bench bless docs size
