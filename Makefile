# Every target makes what it needs. `make setup` alone makes .venv with the shipway command.
PYTHON ?= python3.11
VENV := .venv
SHIPWAY := $(VENV)/bin/shipway
FAMILIES := components/data components/features components/tensorflow components/pytorch components/lifecycle serving serving/routing serving/torchserve
# Pip's settings, where this machine has them, for uv as well.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: setup demo test lint compile proto lock lock-trixie bench-validation bench-faults bench-storage bench-training bench-serving soak-serving pin-images clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet uv
	$(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python --group dev --editable .
	touch $@

demo: setup  ## The main job on real data: 336,776 flights, from raw tables to an endpoint that answers.
	$(VENV)/bin/python -m shipway.pipelines.demo
	$(SHIPWAY) run train_and_deploy --parameters examples/flights.yaml

test: setup build/tree  ## Every test, each family's in that family's environment.
	$(VENV)/bin/python tests/run.py $(SUITES)

lint: setup build/tree
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench-validation: setup  ## Statistics side by side with TFDV and its peers; about 20 minutes.
	$(VENV)/bin/python -m benchmarks.validation

bench-faults: setup  ## Which injected faults are noticed; writes docs/fault-injection.md.
	$(VENV)/bin/python -m benchmarks.faults

bench-storage: setup  ## Transfers side by side with the stores' own clients; about 15 minutes.
	$(SHIPWAY) env python lifecycle -m benchmarks.storage

bench-training: setup  ## Training side by side with tensors in memory and with the usual loaders; about 25 minutes.
	$(VENV)/bin/python -m benchmarks.training

bench-serving: setup  ## Servers of one model side by side: CPU time, batching, starts; about 15 minutes.
	$(VENV)/bin/python -m benchmarks.serving

soak-serving: setup  ## Ten minutes of mixed load, with releases swapped and an arm killed.
	$(VENV)/bin/python -m benchmarks.serving --only soak

pin-images: setup  ## Adds their digests to manifests/images.lock; REGISTRY=HOST/PATH has the project's own images.
	$(VENV)/bin/python -m shipway.pipelines.pinning $(if $(REGISTRY),--registry $(REGISTRY))

proto: setup  ## The compiled description of the gRPC protocol, after a change of it.
	cd serving/openinference/grpc && $(CURDIR)/$(VENV)/bin/uv run --quiet --no-project --with grpcio-tools==1.81.1 \
	  python -m grpc_tools.protoc -I. --descriptor_set_out=open_inference.binpb open_inference.proto

compile: setup
	$(SHIPWAY) compile --all -o build

lock-trixie: setup  ## Needs root and debootstrap.
	$(VENV)/bin/python tests/trixie.py --lock

lock: $(addsuffix /requirements-host.txt,$(FAMILIES)) serving/requirements-trixie.txt

# The image's: the versions that are tested here. All come as wheels, so no Debian trixie is needed to resolve them.
serving/requirements-trixie.txt: serving/requirements-host.txt | setup
	$(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --python-version 3.13 --python-platform x86_64-manylinux_2_40 \
	  --constraint $< serving/requirements.in --output-file $@

# A local build of torch has a version of its own, which other machines would not find.
%/requirements-host.txt: %/requirements.in | setup
	cd $* && $(CURDIR)/$(VENV)/bin/uv pip compile --quiet --no-header --no-annotate --python-version 3.11 --upgrade-package torch \
	  $(if $(wildcard $*/overrides.txt),--override overrides.txt) requirements.in --output-file requirements-host.txt
	sed -i 's/^\(torch==[0-9.]*\)+cpu$$/\1/' $@

# The packages under their import names, for mypy: it knows no package-dir.
build/tree:
	mkdir -p build/tree/shipway
	for package in components examples pipelines serving; do ln -sfn ../../../$$package build/tree/shipway/$$package; done

clean:
	rm -rf $(VENV) build runs
