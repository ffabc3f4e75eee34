# Everything a contributor, and CI, runs. `make` alone lists it.
#
# A clone needs Python 3.11 or newer, make and a C compiler; all else is installed into .venv,
# from the locks and with their hashes. PYTHON=… chooses the interpreter that makes .venv.
# The tests of Kafka and S3 need Java 17 and Maven besides, which fetches jars into .kafka and
# .s3; those of RabbitMQ, Redis, MQTT, PostgreSQL and the console the servers, and the Chromium,
# that Debian has, which they install themselves as root. Those of Kubernetes build its programs
# into .kubernetes, with Go 1.26 or newer, or with a wheel of it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
CODE := broker delivery sources sinks charts tests bench cemesh

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$python; break; }; done)

# --- what people run -----------------------------------------------------------------------

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

.PHONY: run
run: $(VENV)/.ready-to-run ## run the mesh on examples/quickstart
	@PATH="$(abspath $(BIN)):$$PATH" examples/quickstart/run

# Two for each core, up to 8: half of the time, tests wait for servers.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? 2 * n : 8)))

# xdist hangs where a worker of it crashes and is replaced: without another, the run ends and names
# the test.
# The tests start cemesh hundreds of times: with no bytecode kept, each would compile it anew.
.PHONY: test
test: kubernetes-programs check ## run every check and every test, as CI does
	@rm -f .coverage .coverage.*
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/coverage run -m pytest \
		--numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --format=total >/dev/null || { $(BIN)/coverage report; exit 1; }

# They take minutes to compile, which the tests before those that need them leave to them: half of
# the time, tests wait. Whatever becomes of this make, the build does not outlive it.
.PHONY: kubernetes-programs
kubernetes-programs: $(VENV)/.ready-to-test
	@mkdir -p .kubernetes
	@nice -n 19 $(BIN)/python -I -S tests/services/leash.py $$PPID \
		$(BIN)/python -m tests.services.kubernetes.build </dev/null >>.kubernetes/build.log 2>&1 &

.PHONY: kafka
kafka: PORT ?= 9092
kafka: $(VENV)/.ready-to-test ## run a Kafka to play with, until Ctrl-C (PORT=9092: the first of six ports)
	@$(BIN)/python -m tests.services.kafka --port $(PORT)

.PHONY: rabbitmq
rabbitmq: PORT ?= 5672
rabbitmq: $(VENV)/.ready-to-test ## run a RabbitMQ to play with, until Ctrl-C (PORT=5672: the first of six ports)
	@$(BIN)/python -m tests.services.rabbitmq --port $(PORT)

.PHONY: bench
bench: $(VENV)/.ready-to-test ## measure the mesh beside baselines, in ten minutes (docs/benchmarks.md)
	@$(BIN)/python -m bench

.PHONY: bench-quick
bench-quick: $(VENV)/.ready-to-test ## the essential of it, in one minute
	@$(BIN)/python -m bench --quick

.PHONY: check
check: $(VENV)/.ready-to-test ## lint, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.ready-to-test ## put the code into its one format, with the safe fixes of the linter
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The locks are held to the first, so that what is tested is what is run, also in the container image.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate $(UPGRADE) pyproject.toml

.PHONY: lock
lock: $(VENV)/.ready-to-test ## bring the locks in step with pyproject.toml (UPGRADE=--upgrade: take newer versions)
	$(BIN)/$(LOCK) --group build --output-file requirements.lock
	$(BIN)/$(LOCK) --all-extras --group dev --constraints requirements.lock --output-file requirements-dev.lock
	$(BIN)/$(LOCK) --all-extras --group image --constraints requirements-dev.lock --output-file image/packages.lock
	$(BIN)/$(LOCK:pyproject.toml=) --group image-tools --constraints requirements-dev.lock --output-file image/tools.lock

.PHONY: clean
clean: ## remove what the other targets made, .venv included
	rm -rf $(VENV) .kafka .kubernetes .mosquitto .postgresql .rabbitmq .s3 dist build htmlcov .coverage .coverage.* .hypothesis \
		.mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# --- setting up ----------------------------------------------------------------------------

# Made anew only when missing: whatever the locks ask for is put into the one that is there.
$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { \
		echo "cemesh needs Python 3.11 or newer, and found none; name one with PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { \
		echo "cemesh needs Python 3.11 or newer; PYTHON=$(PYTHON) is not one" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks venv or ensurepip; install them (on Debian and Ubuntu: python3-venv)" >&2; exit 1; }
	@echo "Making $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

$(VENV)/.ready-to-run: requirements.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing what cemesh runs on"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

# What tests need includes all that running needs, in the same versions.
$(VENV)/.ready-to-test: requirements-dev.lock requirements.lock pyproject.toml | $(VENV)/pyvenv.cfg
	@echo "Installing what cemesh and its tests run on"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.ready-to-run
