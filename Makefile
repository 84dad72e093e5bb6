# `make run` and `make test` need nothing but git, make and a Python 3: scripts/bootstrap does the rest.
.DEFAULT_GOAL := help
.PHONY: help run test check bench soak fuzz fmt lock pictures reference wheel clean
PYTHON_HERE := .venv/bin/python
# Files stay whole, so that the tests of one share their proxies; those that take long come first.
WORKERS := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="…" is passed on, as in: make run ARGS="--port 8899", make test ARGS="-k gate"'

run: ## install what is missing and start the proxy in this terminal
	@scripts/bootstrap runtime
	@exec .venv/bin/tollkeeper start --foreground $(ARGS)

test: ## install what is missing and run every test
	@scripts/bootstrap dev
	@$(PYTHON_HERE) -m pytest $(WORKERS) $(ARGS)

check: ## all that must hold before a commit: lint, format, types, import directions, tests
	@scripts/bootstrap dev
	$(PYTHON_HERE) -m ruff check
	$(PYTHON_HERE) -m ruff format --check
	$(PYTHON_HERE) -m mypy
	$(PYTHON_HERE) -m pytest -q tests/test_structure.py
	$(PYTHON_HERE) -m pytest $(WORKERS) $(ARGS)

bench: ## measure against stock mitmproxy; the table is added to docs/benchmarks.md
	@scripts/bootstrap dev
	@$(PYTHON_HERE) scripts/bench $(ARGS)

soak: ## run the proxy for half an hour under mixed traffic and faults (ARGS="--minutes 2")
	@scripts/bootstrap dev
	@$(PYTHON_HERE) scripts/soak $(ARGS)

fuzz: ## look for inputs that break the framers, the decoders and the meter, for a minute (ARGS="--seconds 600")
	@scripts/bootstrap dev
	@$(PYTHON_HERE) -m pip install --quiet --require-hashes --no-deps -r requirements/fuzz.lock
	@$(PYTHON_HERE) scripts/fuzz $(ARGS)

fmt: ## format the code and put imports in order
	@scripts/bootstrap dev
	$(PYTHON_HERE) -m ruff check --fix-only --quiet
	$(PYTHON_HERE) -m ruff format

lock: ## pin the newest allowed versions in requirements/*.lock
	@scripts/bootstrap dev
	scripts/lock

pictures: ## draw the pictures of README and docs from a seeded ledger
	@scripts/bootstrap dev
	@$(PYTHON_HERE) scripts/pictures $(ARGS)

reference: ## write docs/reference.md from the commands' own --help
	@scripts/bootstrap dev
	@$(PYTHON_HERE) scripts/reference $(ARGS)

wheel: ## build the wheel into dist/
	@scripts/bootstrap dev
	$(PYTHON_HERE) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove caches and build products (the packages stay: rm -rf .venv)
	rm -rf dist build .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find addon tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
