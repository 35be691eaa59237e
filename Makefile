# What a person types. Everything happens in .venv, which the first target that needs it makes.
# Another Python: make PYTHON=python3.13 setup

PYTHON ?=
PY = .venv/bin/python
PYTEST = $(PY) -m pytest
# Two at a time, a file's tests together; the long ones come first (tests/conftest.py).
SIDE_BY_SIDE = -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart=0

PLUGINS = $(wildcard ./plugins/relay-*)

.PHONY: help setup run test lint types unit e2e nightly bench bench-accept wheel format clean

help:
	@echo "make run      start the relay on 127.0.0.1:8080, its store in relay.db"
	@echo "make test     lint, types and all tests"
	@echo "make setup    only make the environment (.venv)"
	@echo "make lint | types | unit | e2e    one part of make test"
	@echo "make nightly  the faults with larger numbers, and a batch of a million lines"
	@echo "make bench    measure, beside a peer; fails if the relay has become slower (15 minutes)"
	@echo "make bench-accept    what was measured last is what later runs are held against"
	@echo "make wheel    build dist/*.whl, the relay and its plugins"
	@echo "make format   lay out the source as lint wants it"
	@echo "make clean    remove what the above made, but for relay.db"

setup: .venv/tested

.venv/installed: setup.cfg pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup .
	@touch $@

.venv/tested: setup.cfg pyproject.toml .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup ".[test,bench]"
	@touch .venv/installed $@

run: .venv/installed
	@exec .venv/bin/twistd --nodaemon --pidfile= relay

test: lint types
	$(PYTEST) $(SIDE_BY_SIDE)

lint: .venv/tested
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --check --quiet .

types: .venv/tested
	$(PY) -m mypy --no-error-summary

unit: .venv/tested
	$(PYTEST) -m "not e2e and not faults and not nightly"

e2e: .venv/tested
	$(PYTEST) $(SIDE_BY_SIDE) -m "e2e and not nightly"

nightly: .venv/tested
	RELAY_BATCH_LINES=1000000 $(PYTEST) -o faulthandler_timeout=7200 tests/e2e/test_batch.py -k memory_stays_bounded
	RELAY_KILL_ROUNDS=100 RELAY_CRASH_IMAGES=50000 $(PYTEST) --hypothesis-profile=nightly -m "faults or nightly"
	RELAY_FUZZ_FRAMES=1000000 RELAY_FUZZ_REQUESTS=200000 RELAY_FUZZ_SEED=$$(date +%F) \
		$(PYTEST) -s -o faulthandler_timeout=7200 tests/faults/test_fuzz.py
	$(PYTEST) --hypothesis-profile=nightly -o faulthandler_timeout=7200 -m "not e2e and not faults and not nightly"

bench: .venv/tested
	$(PY) -m bench

bench-accept: .venv/tested
	$(PY) -m bench --accept

wheel: .venv/installed
	@rm -rf build dist plugins/*/build
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . $(PLUGINS)
	@ls dist/*.whl

format: .venv/tested
	$(PY) -m ruff check --quiet --fix .
	$(PY) -m ruff format --quiet .

clean:
	rm -rf .venv build dist plugins/*/build plugins/*/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info twistd.log* twistd.pid twisted/plugins/dropin.cache
	find . -type d \( -name __pycache__ -o -name node_modules \) -prune -exec rm -rf {} +
