# Every recipe is a line or two you could type yourself. `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := $(sort $(notdir $(patsubst %/pyproject.toml,%,$(wildcard packages/*/pyproject.toml))))
SUITES := denram dalton $(filter-out denram dalton,$(PACKAGES)) shared reproduction benchmarks # the longest first
BUILD_FILES := constraints.txt pyproject.toml shared/pyproject.toml $(wildcard packages/*/pyproject.toml \
	packages/*/CMakeLists.txt packages/*/buildtools/*.py packages/*/cpp/*.?pp shared/cpp/*)
# An editable install knows the source files by name: another list of files is another install.
LAYOUT := $(shell find shared/src packages/*/src -name '*.py' | LC_ALL=C sort | cksum | cut -d ' ' -f 1)
INSTALLED := $(VENV)/.installed-$(LAYOUT)

# Which tests run, and the folder of test-NAME.
ALL_MARKS := not network and not gpu and not cluster
MARKS ?= $(ALL_MARKS) and not slow
folder = $(or $(wildcard packages/$*),$(patsubst reprokit,shared,$*))

# Options of the reproduction targets.
DATA ?=
SCALE ?= paper
JOBS ?= 1
SCHEDULER ?=
OUT ?=
GOLDEN ?=
ONLY ?=
REPEATS ?=
ISA ?=
MINUTES ?=
TRY ?=
AGAIN ?=
BENCH = $(if $(ONLY),--only $(ONLY)) $(if $(REPEATS),--repeats $(REPEATS)) $(if $(ISA),--isa $(ISA)) \
	$(if $(DATA),--data '$(DATA)') $(if $(MINUTES),--minutes $(MINUTES)) $(if $(TRY),--try) $(if $(AGAIN),--again)
OPTIONS = --scale $(SCALE) --jobs $(JOBS) $(if $(DATA),--data '$(DATA)') $(if $(SCHEDULER),--scheduler '$(SCHEDULER)')
# Only the paper's scale writes into reproduction/, where results are committed; other scales have their default folders.
results = $(if $(OUT),--out '$(OUT)',$(if $(filter paper,$(SCALE)),--out reproduction/$(1)))

.DEFAULT_GOAL := help
.PHONY: help develop demo test test-all test-cluster coverage lint copies types check sanitize trust mutation bench bench-guard bench-growth compare judge results docs report clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z%0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

develop: $(INSTALLED) ## create .venv and install everything editable (about 3 minutes, once)

$(INSTALLED): $(BUILD_FILES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip uninstall -qq --yes reprokit $(PACKAGES) # the names of version 0.1
	REPROKIT_SOURCE= $(BIN)/pip install --quiet -c constraints.txt --group dev -e 'shared[all]' \
		$(foreach package,$(PACKAGES),-e 'packages/$(package)[all]')
	rm -f $(VENV)/.installed*
	touch $@

demo: develop ## train DenRAM on generated spikes and draw Fig. 4d's smoke version (under a minute)
	$(BIN)/denram reproduce --only fig4d --scale smoke --data spoken-toy --out runs/demo

test: develop ## run all tests (offline) except the slow ones, three suites at a time (even on two cores: some wait for the disk)
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target --keep-going $(addprefix test-,$(SUITES))

test-all: ## run the slow tests too
	@$(MAKE) --no-print-directory test 'MARKS=$(ALL_MARKS)'

test-cluster: develop ## a Dask cluster and a one-node Slurm (where installed) with killed workers (4 minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m cluster reproduction/tests

test-%: develop ## run one package's tests, e.g. make test-sbs (reprokit's: make test-shared)
	@echo "== $*"
	@OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python $(COUNTED) -m pytest -q -m '$(MARKS)' $(wildcard $(folder)/tests)

coverage: ## run test-all and count lines: each package's tests must reach its floor in pyproject.toml (what CI runs)
	@rm -f .coverage-*
	@$(MAKE) --no-print-directory test-all 'COUNTED=$$(if $$(wildcard $$(folder)/src),-m coverage run \
		--parallel-mode --data-file=.coverage-$$* --source=$$(folder)/src)'
	@$(BIN)/python .ci/coverage_floors.py

lint: develop ## run ruff and clang-format; check import rules, the table of results and copied files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror shared/cpp/*.hpp packages/*/cpp/*.?pp packages/*/cpp/tests/*.cpp
	$(BIN)/lint-imports
	$(BIN)/python reproduction/results_table.py --check
	for copy in packages/*/buildtools; do diff -x __pycache__ -r packages/bdfa/buildtools $$copy || exit 1; done
	for copy in packages/*/cpp/common; do diff -r shared/cpp $$copy || exit 1; done
	for copy in shared packages/*; do cmp LICENSE $$copy/LICENSE || exit 1; done

copies: ## write the files of which every package has a copy
	for package in packages/*; do cp LICENSE $$package; done; cp LICENSE shared
	for copy in packages/*/cpp/common; do cp shared/cpp/* $$copy; done
	for package in $(filter-out bdfa,$(PACKAGES)); do cp packages/bdfa/buildtools/*.py packages/$$package/buildtools; done

types: develop ## pyright over shared and the packages
	$(BIN)/pyright

check: lint types test ## lint, types and test

reproduce-fig4d: develop ## DenRAM Fig. 4d: DATA=folder SCALE=paper|reduced|smoke JOBS=2 (full: about an hour)
	$(BIN)/denram reproduce --only fig4d $(OPTIONS) $(call results,fig4d)

reproduce-heartbeat: develop ## delays on ECG heartbeats, our study: DATA=folder with the MIT-BIH records SCALE=paper|reduced|smoke (10 minutes)
	$(BIN)/denram reproduce --only heartbeat $(OPTIONS) $(call results,heartbeat)

reproduce-delays: develop ## delays that learn against fixed ones, our study: DATA=folder as for fig4d SCALE=paper|reduced|smoke
	$(BIN)/denram reproduce --only delays $(OPTIONS) $(call results,delays)

reproduce-sbs: develop ## SbS on MNIST: SCALE=paper|reduced|smoke, DATA=folder with mnist/ (smoke: digits, under a minute)
	$(BIN)/sbs reproduce $(OPTIONS) $(call results,sbs)

reproduce-bdfa: develop ## feedback alignment on MNIST: SCALE=paper|reduced|smoke (paper: hours, resumable)
	$(BIN)/bdfa reproduce $(OPTIONS) $(call results,bdfa)

reproduce-nalsm: develop ## liquids on MNIST: SCALE=paper|reduced|smoke (paper: hours, resumable)
	$(BIN)/nalsm reproduce $(OPTIONS) $(call results,nalsm)

reproduce-dalton: develop ## spiking CNNs: SCALE=paper|reduced|smoke DATA=folder GOLDEN=recorded study (paper: hours, resumable)
	$(BIN)/dalton reproduce $(OPTIONS) $(if $(GOLDEN),--golden '$(GOLDEN)') $(call results,dalton)

compare: develop ## the five methods side by side: DATA=mnist|digits JOBS=2 SCHEDULER= (mnist: hours; digits: offline, minutes)
	$(BIN)/python reproduction/compare.py --jobs $(JOBS) $(if $(DATA),--data '$(DATA)') $(if $(SCHEDULER),--scheduler '$(SCHEDULER)')

sanitize: develop ## build the C++ cores with address, undefined-behaviour and thread sanitizers and run their tests
	for script in packages/*/cpp/tests/sanitize.sh; do PYTHON=$(abspath $(BIN)/python) $$script || exit 1; done

trust: develop ## kill, damage, fuzz and sanitize everything, then write docs/trust.md (at most 90 minutes, resumable)
	$(BIN)/python reproduction/trust/run.py

mutation: develop ## mutants of rules, neurons and the judge, for docs/trust.md (at most 45 minutes, resumable)
	$(BIN)/pip install --quiet -c constraints.txt --group mutation
	$(BIN)/python reproduction/trust/mutants.py

bench: develop ## time everything against its peers, on a quiet machine: ONLY='word ...' REPEATS=7 ISA=avx2 MINUTES=60 AGAIN=1 TRY=1 (hours, resumable; see benchmarks/README.md)
	$(BIN)/python -m benchmarks.runner $(BENCH)

bench-guard: develop ## compare ratios with the committed rows of the same instructions and threads; fails beyond 15 %
	$(BIN)/python -m benchmarks.runner --guard $(BENCH)

bench-growth: develop ## time and memory against time-steps, spikes, neurons, depth, batch ...: ONLY= JOBS=1 SCHEDULER=
	$(BIN)/python -m benchmarks.runner --growth --jobs $(JOBS) $(if $(SCHEDULER),--scheduler '$(SCHEDULER)') $(BENCH)

bench-%: develop ## time one package, e.g. make bench-sbs (start: make bench-startup)
	$(BIN)/python -m benchmarks.runner $* $(BENCH)

judge: develop ## compare the recorded results with the published numbers
	$(BIN)/reprokit judge reproduction/claims.toml

results: develop ## write the README's table of results from what the judge says
	$(BIN)/python reproduction/results_table.py

docs: develop ## build the site with its executed tutorials: docs/_build/html/index.html
	$(BIN)/pip install --quiet -c constraints.txt --group docs
	cd docs && REPROKIT_OFFLINE=1 OMP_NUM_THREADS=1 $(abspath $(BIN))/python -m sphinx -W --keep-going -q -b html . _build/html

report: develop ## one HTML page of all claims and figures: runs/report.html
	mkdir -p runs && $(BIN)/reprokit report reproduction/claims.toml --out runs/report.html

clean: ## remove build products and caches (never data, results or the virtual environment)
	rm -rf .pytest_cache .ruff_cache .import_linter_cache shared/dist packages/*/dist packages/*/build
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
