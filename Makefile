# `make help` lists the targets. Everything is installed into .venv; nothing outside this folder but apt packages.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SEED ?= 0
KEEP ?=
INSTALL ?= process
PYTEST_ARGS ?=
# Most tests wait for processes. On a cluster of yours (KUBECONFIG) they run one at a time: it has one operator.
WORKERS ?= $(if $(KUBECONFIG),0,2)
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BENCH ?=
IMAGE_BUILDER ?= $(if $(shell command -v buildah),buildah build,docker build)
IMAGE_PREFIX ?=
IMAGE_ARGS ?=
IMAGES ?= operator tracker trainer
# buildah mounts file systems: a mount namespace of its own keeps them out of everybody else's sight.
PRIVATE := $(if $(filter 0,$(shell id -u)),unshare --mount --propagation private)

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo]' --group dev
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps sweeps  # see [project.optional-dependencies].tracker
	touch $@

.PHONY: venv
venv: $(STAMP)  ## create .venv with every dependency

.PHONY: demo
demo: $(STAMP)  ## run the main job; KEEP=1 keeps everything up, SEED=n takes another seed, INSTALL=helm the chart
	@$(BIN)/finetune-demo --seed $(SEED) --install $(INSTALL) $(if $(KEEP),--keep)

.PHONY: browser
browser:  ## install Chromium, which the tests of the tracker's page drive, where there is none
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq --yes chromium)

.PHONY: test
test: $(STAMP) browser  ## run all tests
	$(PYTEST) $(PYTEST_ARGS)

.PHONY: test-fast
test-fast: $(STAMP) browser  ## run the tests that take seconds
	$(PYTEST) -m 'not slow' $(PYTEST_ARGS)

.PHONY: lint
lint: $(STAMP)  ## ruff, mypy --strict, import layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(STAMP)  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: manifests
manifests: $(STAMP)  ## write the CRDs from the operator's models
	$(BIN)/python -m finetune_operator.crdgen manifests/crds
	$(BIN)/python charts/generate.py

SCALE ?= 1
.PHONY: chaos
chaos: $(STAMP)  ## kill the operator 200 times under 400 resources, write build/chaos.json; SEED=n, SCALE=0.1 is a tenth
	$(BIN)/python -m tests.chaos.run --out build/chaos.json --seed $(SEED) --scale $(SCALE)

.PHONY: bench
bench: $(STAMP)  ## measure against the best alternatives, into build/bench; BENCH="NAME ..." takes some, BENCH=--quick proves that they run
	$(BIN)/python -m benchmarks $(BENCH)

.PHONY: bench-search
bench-search: $(STAMP)  ## measure what the search buys, into build/bench/search.json and docs; goes on where it was interrupted
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.search.report

.PHONY: bench-docs
bench-docs: $(STAMP)  ## write docs/benchmarks.md from the figures in build/bench
	$(BIN)/python -m benchmarks.report

.PHONY: chart
chart: $(STAMP)  ## write the chart's generated files, lint it, package it into build/
	$(BIN)/python charts/generate.py --package build

.PHONY: base-image
base-image:  ## make localhost/debian-python, a stand-in for the public base images (see IMAGE_ARGS), with debootstrap
	$(PRIVATE) tests/install/base-image.sh localhost/debian-python

.PHONY: images
images:  ## build the images; IMAGE_BUILDER, IMAGE_PREFIX, IMAGE_ARGS (--build-arg BASE_IMAGE=... and the like)
	for image in $(IMAGES); do \
	  $(PRIVATE) $(IMAGE_BUILDER) $(IMAGE_ARGS) \
	    --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
	    --file $$([ $$image = trainer ] && echo Dockerfile.trainer || echo Dockerfile.operator) \
	    $$([ $$image = trainer ] || echo --target=$$image) --tag $(IMAGE_PREFIX)finetune-$$image:$(VERSION) .; \
	done

.PHONY: test-images
test-images: $(STAMP)  ## run the built images as restricted pods; needs buildah and runc
	$(PRIVATE) env FINETUNE_TEST_IMAGES=1 FINETUNE_IMAGE_PREFIX=$(or $(IMAGE_PREFIX),localhost/) $(BIN)/pytest tests/install/test_images.py $(PYTEST_ARGS)

.PHONY: clean
clean:  ## remove what was built (not the venv)
	rm -rf build
