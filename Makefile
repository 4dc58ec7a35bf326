# Everything here works with python3 (3.11 or newer, with venv) and make: the first call makes .venv, hash-checked.
# `make help` says what there is. Variables: PYTHON (the interpreter to begin with), VENV (where the environment goes),
# WORKERS (how many processes the tests run in; each starts a broker of its own).

PYTHON ?= python3
VENV   ?= .venv
WORKERS ?= 2

SHELL  := /bin/sh
bin    := $(VENV)/bin
python := $(bin)/python
# Stamps lie inside the environment: who removes it removes them too.
made   := $(VENV)/.telltale
pip    := $(python) -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check pytest slow mutants coverage bench models ecg skab smd blame quality ucr smap-msl nab tsb-ad tsb-uad mitbih streams fuzz training-speed tutorial demo-seeds faults docs lock locks-resolve clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(made)/demo ## all of it on this machine: Kafka, a trained model, a stream, its alerts
	$(bin)/telltale demo

test: check pytest ## what must pass before a commit: check, then the tests (needs minutes)

check: $(made)/dev ## lint, format and types; writes no file of the tree
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

# Files in alphabetical order: those of tests/acceptance and tests/integration, which mostly wait, come before the rest.
pytest: $(made)/dev $(made)/peers
	$(python) -m pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: $(made)/dev ## the tests that `make test` leaves out because each takes minutes
	$(python) -m pytest -m slow

mutants: $(made)/dev ## deliberate bugs, one at a time: those that no test detects are listed (minutes; tests/mutants/)
	$(python) -m tests.mutants

# What is measured: lines and branches together. A gate is what was reached, rounded down; raise it, never lower it.
core  := monitor/detector/*
heart := monitor/processing/*

coverage: $(made)/dev ## which branches of the core the unit and property tests take; fails below the gate (minutes)
	$(python) -m coverage run -m pytest -m "not slow" tests/unit tests/property
	$(python) -m coverage report --include "$(core)" --fail-under 98
	$(python) -m coverage report --include "$(heart)" --fail-under 99

bench: $(made)/bench ## throughput, the scorer and decoding alone, and latency, compared with other tools
	$(python) -m tests.benchmarks.end_to_end
	$(python) -m tests.benchmarks.shapes $(if $(ROWS),--rows $(ROWS))
	$(python) -m tests.benchmarks.batches
	$(python) -m tests.benchmarks.kernel
	$(python) -m tests.benchmarks.decode
	$(python) -m tests.benchmarks.latency

models: $(made)/dev ## every kind of autoencoder on heartbeats and digits, with baselines (needs minutes)
	$(python) -m tests.benchmarks.models --seeds 3

ecg: $(made)/dev ## the chosen recipes on ECG5000 by the tutorial's protocol, and on the held-out beats
	$(python) -m tests.benchmarks.ecg5000 --seeds 10

skab: $(made)/dev ## 30 runs of a water loop, with baselines and published results (minutes)
	$(python) -m tests.benchmarks.series.skab --seeds 3

smd: $(made)/dev ## four server machines of 38 metrics, likewise
	$(python) -m tests.benchmarks.series.smd --seeds 3

blame: $(made)/dev ## which channels alerts blame: SMD's labelled segments and planted faults, beside simpler rules
	$(python) -m tests.benchmarks.series.blame --seeds 3

quality: $(made)/dev ## these and more in one table, with the bars; fails where one is not met; ONLY="smd blame" (an hour)
	$(python) -m tests.benchmarks.bars $(if $(ONLY),--only $(ONLY))

# Archives of files: whose folder, which files (patterns of names), which recipe; else what is at hand, by default.
files = $(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY)) $(if $(RECIPE),--recipe $(RECIPE))

ucr: $(made)/dev ## 16 series of the UCR anomaly archive, likewise; DATA=FOLDER: as many as there are; ONLY, RECIPE
	$(python) -m tests.benchmarks.series.ucr --seeds 3 $(files)

smap-msl: $(made)/dev ## four telemetry channels of spacecraft, likewise; DATA, ONLY, RECIPE
	$(python) -m tests.benchmarks.series.smap_msl $(files)

nab: $(made)/dev ## 49 series of the Numenta Anomaly Benchmark, likewise
	$(python) -m tests.benchmarks.series.nab --seeds 3

tsb-ad: $(made)/dev ## TSB-AD, 14 series at hand; DATA=FOLDER: all 530, downloaded (hours); ONLY, RECIPE
	$(python) -m tests.benchmarks.series.tsb_ad $(files)

tsb-uad: $(made)/dev ## TSB-UAD, an electrocardiogram at hand; DATA=FOLDER: as many as there are; ONLY, RECIPE
	$(python) -m tests.benchmarks.series.tsb_uad $(files)

mitbih: $(made)/dev ## continuous electrocardiograms: beats found and told apart (minutes)
	$(python) -m tests.benchmarks.mitbih $(if $(DATA),--records $(DATA))

streams: $(made)/dev ## public data through train, a real broker and run; ONLY=skab: also skab-normal, smd, nab, mitbih, ims
	$(python) -m tests.benchmarks.live $(ONLY)

fuzz: $(made)/dev ## a million arbitrary records over all formats and mappings; RECORDS, SEED (needs minutes)
	$(python) -m tests.benchmarks.fuzz --records $(or $(RECORDS),1000000) --seed $(or $(SEED),0)

keras := $(VENV)-keras
$(keras)/.telltale: deploy/requirements-keras.txt | $(made)/venv
	$(PYTHON) -m venv $(keras)
	$(keras)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r $<
	@touch $@

training-speed: $(made)/dev $(keras)/.telltale ## a training run compared with Keras on TensorFlow doing the same, whole processes
	$(MAKE) VENV=$(VENV)-demo $(VENV)-demo/.telltale/demo
	$(python) -m tests.benchmarks.training_speed --python $(VENV)-demo/bin/python --keras-python $(keras)/bin/python

tutorial: $(made)/dev ## the TensorFlow tutorial's results on ECG5000, over 12 splits
	$(python) -m tests.benchmarks.tutorial --seeds 12

demo-seeds: $(made)/dev ## what the demo finds and misses, over 5 seeds
	$(python) -m tests.benchmarks.demo_seeds --seeds 5

faults: $(made)/dev ## brokers and members killed under load: gaps, takeovers, each alert against an oracle (minutes)
	$(python) -m tests.faults.broker_kills --kills 20
	$(python) -m tests.faults.members

docs: $(made)/dev ## update README's tables and deploy/telltale.toml
	$(python) -m monitor.reference

clean: ## remove what was built; the environment and the downloaded jars stay
	rm -rf build dist .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find monitor training tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------------------------
# One environment for all sets, as they agree in every version (tests/unit/test_deploy.py). A larger set holds the
# smaller one, so that `make demo` after `make test` installs nothing.

$(made)/venv:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) is not there; install Python 3.11 or newer, or say where it is: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is `$(PYTHON) -V 2>&1`; Telltale needs 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(python) || $(PYTHON) -m venv $(VENV)
	@mkdir -p $(@D) && touch $@

$(made)/build: deploy/requirements-build.txt $(made)/venv
	$(pip) install --quiet --require-hashes -r $<
	@touch $@

# $(1): set, $(2): smaller sets that it holds. An edited source needs no installation, an edited pyproject.toml does.
define set
$(made)/$(1): deploy/requirements-$(1).txt pyproject.toml $(made)/build
	@echo "installing deploy/requirements-$(1).txt (the first time takes a minute or two, about 1 GB on disk)"
	$(pip) install --quiet --require-hashes -r $$<
	$(pip) install --quiet --no-deps --no-build-isolation --no-index --editable .
	@touch $$@ $(foreach smaller,$(2),$(made)/$(smaller))
endef
$(eval $(call set,demo,))
$(eval $(call set,dev,demo))
$(eval $(call set,bench,demo dev))

# Second implementations that tests compare with. Their own dependencies would not fit ours, and are not needed for it.
$(made)/peers: deploy/requirements-peers.txt $(made)/dev
	$(pip) install --quiet --no-deps --require-hashes -r $<
	@touch $@

# --- the locks -------------------------------------------------------------------------------------------------------
# Hashes of all files of all platforms, no address of any index: they install from whatever index is configured.
# The largest set is resolved first and binds the others. `make lock LOCK=--upgrade` takes newer versions.

LOCK    ?=
UV      ?= $(VENV)-lock/bin/uv
compile := $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock" $(LOCK)
with    := --constraint deploy/requirements-bench.txt pyproject.toml

$(VENV)-lock/bin/uv: | $(made)/venv
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet uv==0.13.8

lock: $(UV) ## resolve and pin deploy/requirements*.txt again
	$(compile) --extra train --extra broker --extra avro --extra test --extra bench pyproject.toml -o deploy/requirements-bench.txt
	$(compile) $(with) --extra train --extra broker --extra avro --extra test -o deploy/requirements-dev.txt
	$(compile) $(with) --extra train --extra broker -o deploy/requirements-demo.txt
	$(compile) $(with) -o deploy/requirements.txt
	printf '%s\n' 'tsb-ad==1.5' | $(compile) --no-deps - -o deploy/requirements-peers.txt
	printf '%s\n' 'tensorflow-cpu>=2.21,<2.22' 'keras>=3.15,<4' | \
	  $(compile) --constraint deploy/requirements-bench.txt - -o deploy/requirements-keras.txt
	printf '%s\n' 'hatchling>=1.27' 'editables~=0.6' | \
	  $(compile) --constraint deploy/requirements-bench.txt - -o deploy/requirements-build.txt

# Each Python that pyproject.toml names. The peers of requirements-bench.txt and -keras.txt lag behind, and are not asked.
PYTHONS := 3.11 3.12 3.13 3.14

locks-resolve: $(UV) ## check that the locks resolve to wheels for every supported Python; installs nothing
	@for version in $(PYTHONS); do for lock in requirements requirements-demo requirements-dev requirements-build; do \
	  $(UV) pip install --quiet --dry-run --require-hashes --only-binary :all: --python-version $$version \
	    --target $(VENV)-lock/nowhere -r deploy/$$lock.txt || exit 1; \
	  echo "Python $$version: deploy/$$lock.txt"; \
	done; done
