# One entry for everything. `make demo` and `make test` do all their own setup on a new Debian machine.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VENV   := .venv
PY     := $(VENV)/bin/python
# The first interpreter that is new enough; PYTHON=... decides otherwise.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
            "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; echo python3)
CC     := $(if $(filter default,$(origin CC)),cc,$(CC))
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
PIP    := $(PY) -m pip --disable-pip-version-check --quiet

PROTOS := $(wildcard proto/wheeld/v1/*.proto)
NATIVE := $(shell find native -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \) -not -path 'native/tests/*')

# --- help ------------------------------------------------------------------------------------------------------------

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*?## " } /^[a-z-]+:.*?## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment -----------------------------------------------------------------------------------------------------

.PHONY: setup check-machine
setup: $(VENV)/.built $(VENV)/.stamp ## Virtual environment in .venv with wheeld installed editable and built

check-machine:
	@missing() { printf '\n  %s\n  On Debian or Ubuntu:  sudo apt-get install %s\n\n' "$$1" "$$2" >&2; exit 1; }; \
	command -v $(CC) >/dev/null || missing "No C compiler: '$(CC)' was not found." build-essential; \
	command -v $(PYTHON) >/dev/null || missing "No Python: '$(PYTHON)' was not found." "python3 python3-dev python3-venv"; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || missing "wheeld needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name one with PYTHON=..." python3; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing "Python's venv module is missing or has no pip." python3-venv; \
	include=$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	test -f "$$include/Python.h" || missing "The Python headers are missing: no $$include/Python.h." python3-dev; \
	echo '#include <stdint.h>' | $(CC) -E - >/dev/null 2>&1 || missing "'$(CC)' finds no C library headers." build-essential

# Three stamps, so that an edited C file costs one compile and no pip run.
$(VENV)/.tools: pyproject.toml
	@$(MAKE) --no-print-directory check-machine
	@test -x $(PY) || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing build tools"
	@$(PIP) install --upgrade pip "setuptools>=80" "Cython>=3.1,<4" wheel
	@touch $@

# Staleness goes by modification time alone, and compiler flags stand in setup.py: when that changed, everything is built again.
$(VENV)/.built: $(VENV)/.tools setup.py $(NATIVE)
	@echo "building the native modules"
	@mkdir -p build
	@$(PY) setup.py --quiet build_ext --inplace --parallel $(JOBS) --build-temp build/inplace $(if $(filter setup.py,$?),--force) \
	  > build/build.log 2>&1 || { cat build/build.log >&2; exit 1; }
	@! grep -E 'warning:' build/build.log || echo "(the whole log: build/build.log)"
	@touch $@

$(VENV)/.stamp: pyproject.toml | $(VENV)/.built
	@echo "installing wheeld and its development tools (some minutes the first time)"
	@WHEELD_EXT=none $(PIP) install --no-build-isolation --editable '.[dev]'
	@touch $@

# --- run -------------------------------------------------------------------------------------------------------------

.PHONY: demo serve
demo: setup ## A daemon, a producer and a worker for half a minute, with the fire skew at the end
	@$(PY) -m wheeld demo

serve: setup ## A development daemon on this machine (gRPC 7733, HTTP 7734)
	@$(PY) -m wheeld dev

# --- check -----------------------------------------------------------------------------------------------------------

PYTEST := $(PY) -m pytest

.PHONY: test lint fmt types layers sizes
test: setup native-test ## All tests but the slow and the large ones; PYTEST_ARGS="-k wheel" narrows
	@$(PYTEST) -m "not slow and not large" $(PYTEST_ARGS)

lint: setup ## ruff: rules and format
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .

fmt: setup ## ruff: repair what it can, format
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

types: setup ## mypy --strict over src, stubtest over the native modules
	@$(VENV)/bin/mypy
	@$(PYTEST) -q tests/tidy/test_stubs.py

layers: setup ## Import contracts
	@$(PY) -m tests.tidy.contracts

sizes: setup ## File and function budgets
	@$(PYTEST) -q tests/tidy/test_sizes.py

# --- generated code --------------------------------------------------------------------------------------------------

.PHONY: proto proto-check
proto: setup ## Generate the stubs in src/wheeld/wire/pb from proto/
	@$(PY) -m tests.tidy.protogen src

proto-check: setup ## The committed stubs are what proto/ generates
	@CI=true $(PYTEST) -q tests/tidy/test_generated.py

# --- native ----------------------------------------------------------------------------------------------------------

NT         := build/native-test
NT_SOURCES := $(filter %.c,$(NATIVE))
NT_OBJECTS := $(NT_SOURCES:%.c=$(NT)/%.o)
NT_TESTS   := $(patsubst native/tests/%.c,%,$(wildcard native/tests/test_*.c))
NT_FLAGS   := -std=c11 -O1 -g -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -fno-strict-aliasing \
              -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
NT_FLAGS   += $(addprefix -I,native $(patsubst %/,%,$(sort $(dir $(filter %.h,$(NATIVE))))) native/tests)

# Where the kernel draws addresses from 32 bits, GCC's sanitizer now and then finds its shadow's place taken.
AT_FIXED_PLACES := $(shell setarch -R true 2>/dev/null && echo setarch -R)

.PHONY: native-test asan
native-test: $(addprefix run-,$(NT_TESTS)) ## The C tests under address and undefined behaviour sanitizers; no Python

$(NT)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@$(CC) $(NT_FLAGS) -MMD -MP -c -o $@ $<

# An archive, so that each test links just the files that it needs.
$(NT)/libwheeld.a: $(NT_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(NT)/bin/%: $(NT)/native/tests/%.o $(NT)/libwheeld.a
	@mkdir -p $(@D)
	@$(CC) $(NT_FLAGS) -o $@ $^ -lm -lpthread

.PHONY: $(addprefix run-,$(NT_TESTS))
$(addprefix run-,$(NT_TESTS)): run-%: $(NT)/bin/%
	@echo "native $*"
	@$(AT_FIXED_PLACES) $<

.PRECIOUS: $(NT)/%.o $(NT)/bin/%
-include $(NT_OBJECTS:.o=.d) $(addprefix $(NT)/native/tests/,$(addsuffix .d,$(NT_TESTS)))

# Python itself is not instrumented, so the runtimes come in by LD_PRELOAD; libstdc++ as well, or gRPC's C++ exceptions are not seen.
ASAN_PRELOAD = $(foreach lib,libasan.so libubsan.so libstdc++.so,$(shell $(CC) -print-file-name=$(lib)))
ASAN_TESTS   ?= tests/unit tests/contract tests/property

asan: setup ## Native modules rebuilt with sanitizers in build/asan; unit, contract and property tests on them
	@rm -rf build/asan/lib
	@mkdir -p build/asan
	@WHEELD_SANITIZE=1 $(PY) setup.py --quiet build --build-base build/asan --build-lib build/asan/lib --parallel $(JOBS) > build/asan/build.log 2>&1 \
	  || { cat build/asan/build.log >&2; exit 1; }
	@PYTHONPATH=build/asan/lib $(PY) -c 'import sys, wheeld; sys.exit("build/asan" not in wheeld.__file__)'
	@PYTHONPATH=$(CURDIR)/build/asan/lib PYTHONMALLOC=malloc LD_PRELOAD="$(ASAN_PRELOAD)" WHEELD_TEST_SANITIZED=1 \
	  ASAN_OPTIONS=detect_leaks=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
	  $(PYTEST) -q -p no:cacheprovider --timeout 300 -m "not slow and not large and not e2e" $(wildcard $(ASAN_TESTS)) $(PYTEST_ARGS)

# --- measure ---------------------------------------------------------------------------------------------------------

.PHONY: bench bench-micro bench-compare bench-sdk bench-report bench-scale bench-overload soak bench-setup
$(VENV)/.bench: $(VENV)/.stamp
	@WHEELD_EXT=none $(PIP) install --no-build-isolation --editable '.[dev,bench]'
	@touch $@

bench-setup: setup $(VENV)/.bench

bench: bench-setup ## The system benchmarks, each on a daemon of its own; BENCH_ARGS="--only skew,burst" narrows
	@$(PY) -m bench.run $(BENCH_ARGS)

MICRO_SIZES  ?= 1,10
MICRO_FOLDER ?= /tmp

bench-micro: bench-setup ## Wheel and rivals by size, journal by group, codec, core, fold; MICRO_SIZES=1,10,50 MICRO_FOLDER=on-the-disk
	@$(PY) -m bench.micro.curve --sizes $(MICRO_SIZES)
	@$(PY) -m bench.micro.journal --folder $(MICRO_FOLDER)
	@$(PYTEST) bench/micro/test_codec.py bench/micro/test_core.py bench/micro/test_fold.py -s --benchmark-columns=min,median,rounds

bench-compare: bench-setup ## The same workloads on Redis, PostgreSQL, beanstalkd and Celery; BENCH_ARGS="--rounds 3 --scale 0.2"
	@$(PY) -m bench.compare $(BENCH_ARGS)

bench-sdk: bench-setup ## The SDK as programs use it: one await per job, bulk, handlers; BENCH_ARGS="--only await_256 --loop uvloop"
	@$(PY) -m bench.sdk $(BENCH_ARGS)

bench-report: bench-setup ## Tables and figures out of bench/results
	@$(PY) -m bench.report $(BENCH_ARGS)

bench-scale: bench-setup ## Far jobs by the million, kill -9, a million in one millisecond; BENCH_ARGS="--jobs 100000000"
	@$(PY) -m bench.scale $(BENCH_ARGS)

bench-overload: bench-setup ## More than the daemon can do, in four ways; BENCH_ARGS="--scale 0.1"
	@$(PY) -m bench.overload $(BENCH_ARGS)

soak: bench-setup ## Minutes of load with crashes; SEED= repeats a run
	@$(PY) -m bench.soak $(if $(SEED),--seed $(SEED)) $(BENCH_ARGS)

# --- ship ------------------------------------------------------------------------------------------------------------

.PHONY: dist dist-check clean distclean
dist: setup ## sdist and wheel in dist/, the wheel built from the sdist
	@rm -rf dist
	@$(PY) -m build --outdir dist . > build/dist.log 2>&1 || { cat build/dist.log >&2; exit 1; }
	@ls -l dist | awk 'NR > 1 { print "  " $$5, $$9 }'

dist-check: dist ## Install the wheel into a clean environment, run it there, outside of the checkout
	@$(PY) tests/tidy/dist_check.py dist

clean: ## Remove everything that was built, keep the virtual environment
	@rm -rf build dist src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache .benchmarks
	@find . -path ./$(VENV) -prune -o -name '*.so' -exec rm -f {} +
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f $(VENV)/.built $(VENV)/.stamp $(VENV)/.bench

distclean: clean ## Remove the virtual environment as well
	@rm -rf $(VENV)
