# Everything here only wraps: `pip install '.[all]'` and `qupath-sam demo` do the same where there is no make.
.PHONY: help setup demo test pytest checks coverage fuzz ray lint types jar java proto proto-check format build docs
.DEFAULT_GOAL := help

# uv where it works; else one of its own inside .venv, so that python3 (3.11 or newer, with venv) and make are enough.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .venv/bin/uv)
BIN := .venv/bin
# Two workers, each with whole files: a server that a file starts serves all its tests.
PYTEST_ARGS ?= -n 2 --dist loadfile
# ruff looks at what is ours and written by hand.
PYTHON_CODE := qupath_sam tests examples tools
MAVEN := QUPATH_SAM_PYTHON="$(abspath $(BIN)/python)" mvn --batch-mode --quiet -f groovy/client
HAS_MAVEN := command -v mvn >/dev/null && command -v javac >/dev/null
PROTOC := $(BIN)/python -m grpc_tools.protoc -Iproto

help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.synced ## install everything into .venv

demo: setup ## segment a real slide through a real server; see demo-output/
	$(BIN)/qupath-sam demo

# Maven's tests wait for servers most of the time, and pytest has two processes for two cores.
test: lint jar ## lint, then all tests; beside them types, protocol and the tests of the Java client
	@$(MAKE) --no-print-directory -j2 pytest checks

pytest: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# `mvn test` leaves the jar alone, which some of the tests beside it install.
checks: setup
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory proto-check
	@if $(HAS_MAVEN); then $(MAVEN) test; fi

coverage: setup ## all tests, and the lines of each module that none of them runs
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term

fuzz: setup ## 100,000 malformed requests to a server; `make test` sends the first 12,000
	QUPATH_SAM_FUZZ=100000 $(BIN)/python -m pytest tests/server/test_fuzz.py

# Ray and what it brings are 80 wheels that no other test needs.
ray: setup ## tests on a Ray cluster of this machine, in an environment of its own
	UV_PROJECT_ENVIRONMENT=.venv-ray $(UV) sync --frozen --all-extras
	.venv-ray/bin/python -m pytest tests/server/test_ray_cluster.py

jar: setup # QuPath's client jar, not tested
	@if $(HAS_MAVEN); then $(MAVEN) -DskipTests package; \
	else echo "no Maven or no JDK: the Java client is neither built nor tested"; fi

java: setup ## build and test QuPath's client jar, where there are Maven and a JDK (17 or newer)
	@if $(HAS_MAVEN); then $(MAVEN) package; \
	else echo "no Maven or no JDK: the Java client is neither built nor tested"; fi

lint: setup ## code style, protocol style, who may import whom
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)
	$(BIN)/buf lint
	$(BIN)/lint-imports --no-cache --no-logo

types: setup ## mypy, strict
	$(BIN)/mypy

format: setup ## put the code into one style
	$(BIN)/ruff check --fix $(PYTHON_CODE)
	$(BIN)/ruff format $(PYTHON_CODE)
	$(BIN)/buf format --write

proto: setup ## write the Python code of the protocol
	$(PROTOC) --python_out=. --pyi_out=. --grpc_python_out=. proto/qupath_sam/v1/*.proto

proto-check: setup ## the committed code is what the protocol files give
	@made=$$(mktemp -d) && trap 'rm -rf "$$made"' EXIT && \
	$(PROTOC) --python_out="$$made" --pyi_out="$$made" --grpc_python_out="$$made" proto/qupath_sam/v1/*.proto && \
	diff -r -x __init__.py -x __pycache__ "$$made/qupath_sam/v1" qupath_sam/v1 || \
	{ echo "the generated code is not that of proto/: run 'make proto' and commit"; exit 1; }

docs: setup ## the documentation as a site in site/; a link that leads nowhere is an error
	$(UV) sync --frozen --all-extras --group docs --inexact --quiet
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: setup ## wheel and source archive in dist/
	$(UV) build

.venv/bin/uv:
	python3 -m venv .venv
	.venv/bin/python -m pip install --quiet uv

# --inexact leaves a uv that lives in .venv alone.
.venv/.synced: pyproject.toml uv.lock $(filter .venv/bin/uv,$(UV))
	$(UV) sync --frozen --all-extras --no-extra ray --inexact
	@touch $@
