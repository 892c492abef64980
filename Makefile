# `make help` lists the targets. Go and make are enough for demo, build and test; the race detector also needs a C
# compiler, test-kafka needs Java 17 and Maven, test-browser needs Chromium, test-apps-script needs Node.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The race detector needs cgo, and so a C compiler.
RACE    := $(shell command -v cc gcc clang >/dev/null 2>&1 && [ "$$(go env CGO_ENABLED)" = 1 ] && echo -race)

# What may be set: make test PKG=./sink RUN=Retry
PKG      := ./...
RUN      := .
ONCE     :=
PORT     :=
BROKER_PORT :=
FUZZTIME := 20s
SEEDS    := 20
SEED     :=
CELLS    :=
PAIRS    := 5
KUBECTL  := kubectl
BIN      := bin
# Only a whole benchmark is a report.
REPORT   := $(if $(CELLS)$(filter-out 5,$(PAIRS)),,docs/benchmarks.md)
# The packages whose tests ask for a Kafka cluster, and the tests to run in them against Apache Kafka.
KAFKA_PKG = $(shell go list -e -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... | \
	sed -nE 's#^(\S+)\.test .*signup-sheet/internal/kafkatest( .*|$$)#\1#p')

# Tools have a go.mod of their own, so that they never change what the program is built from. They are built again when
# their versions or Go's change.
TOOLS := .tools/$(shell go env GOVERSION).stamp
CHART_TOOLS := .tools/chart-$(shell go env GOVERSION).stamp

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-17s %s\n", $$1, $$2}'

# A webhook in the environment is the real program's: it counts here only if it is written behind make demo. The demo replaces
# the shell, so that signals reach it.
.PHONY: demo
demo: ## See it work on a page, without Kafka or a sheet; ONCE=1000 checks that so many signups arrive, SHEETS_WEBHOOK_URL=https://… gets 20
	@go build -o bin/demo ./cmd/demo
	@exec bin/demo $(if $(ONCE),--once $(ONCE)) $(if $(PORT),--port $(PORT)) $(if $(BROKER_PORT),--broker-port $(BROKER_PORT)) \
		$(if $(findstring command,$(origin SHEETS_WEBHOOK_URL)),--webhook)

.PHONY: build
build: ## The program, static, as bin/signup-sheet
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN)/signup-sheet ./cmd/signup-sheet

.PHONY: test
test: ## All tests, on a Kafka in the test's process; RUN=regexp and PKG=./sink choose
	go test $(RACE) -timeout 30m -run '$(RUN)' $(PKG)

.PHONY: test-apps-script
test-apps-script: ## The script for Google Sheets (docs/destinations/apps-script) on stand-ins for Google's objects: needs Node 18
	node --test test/apps-script/code.test.mjs

.PHONY: test-browser
test-browser: ## The demo's page in a browser without a window: needs chromium (Debian, Ubuntu: apt-get install chromium)
	go test -tags browser -count=1 -timeout 10m -run Browser ./cmd/demo

.PHONY: screenshot
screenshot: ## Pictures of the demo's page in bin/screenshots, the README's among them; needs chromium
	mkdir -p bin/screenshots docs/images
	SCREENSHOTS=$(CURDIR)/bin/screenshots go test -tags browser -count=1 -timeout 10m -run Screenshots ./cmd/demo
	cp bin/screenshots/demo.png docs/images/demo.png

.PHONY: test-kafka
test-kafka: ## The tests that need Kafka on Apache Kafka: the brokers in KAFKA_BROKERS, else one that is started and stopped
	test/kafka/with go test $(RACE) -count=1 -p 1 -timeout 45m -run '$(RUN)' $(KAFKA_PKG)

.PHONY: chaos
chaos: ## Seeded trouble judged by an oracle: SEEDS=20, or SEED=7 with its story; KAFKA=1 on three brokers of Apache Kafka
ifdef KAFKA
	CHAOS_SEEDS=$(SEEDS) CHAOS_SEED=$(SEED) KAFKA_BROKERS='three of its own' test/kafka/with \
		go test $(RACE) -count=1 -timeout 3h -v -run ChaosWithProcesses ./internal/chaos
else
	CHAOS_SEEDS=$(SEEDS) CHAOS_SEED=$(SEED) go test $(RACE) -count=1 -parallel 6 -timeout 3h -v -run . ./internal/chaos
endif

.PHONY: chaos-faults
chaos-faults: ## Whether the oracle of chaos finds faults that are built into the program, by hand
	CHAOS_FAULTS=1 go test -count=1 -timeout 1h -v -run Deliberate ./internal/chaos

.PHONY: test-kafka-long
test-kafka-long: ## What takes minutes on Apache Kafka, by hand: brokers killed, quotas
	KAFKA_LONG=1 test/kafka/with go test $(RACE) -count=1 -p 1 -timeout 30m -v -run 'RealBrokers|Quota' ./consumer

# Go reports "context deadline exceeded" when the time is over at the wrong moment (golang/go#75804, until 1.27): no input failed.
.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (20s)
	@grep -rnoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | while IFS=: read -r file _ func; do \
		name=$${func#func }; echo "$$name, $(FUZZTIME)"; \
		out=$$(go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" 2>&1) && code=0 || code=$$?; \
		if [ $$code != 0 ] && { grep -q 'Failing input' <<< "$$out" || ! grep -qE '^ +context deadline exceeded' <<< "$$out"; }; then echo "$$out"; exit $$code; fi; \
		grep -E '^fuzz: elapsed' <<< "$$out" | tail -n 1; \
	done

# Without the race detector, which changes what is allocated.
.PHONY: allocs
allocs: ## That decoding, mapping and windows allocate no more than is stated beside their benchmarks; shows their times
	@dirs=$$(grep -rlE --include='*_test.go' '^func TestAllocations' . | xargs -n 1 dirname | sort -u); \
	go test -count=1 -v -benchtime 200ms -run '^TestAllocations' $$dirs

.PHONY: chart-test
chart-test: $(CHART_TOOLS) ## The Helm chart and the image's files, offline; with KUBECONFIG on that cluster too, in a namespace of its own
	CHART_TEST_KUBECONFIG='$(KUBECONFIG)' CHART_TEST_KUBECTL='$(KUBECTL)' go test -count=1 -timeout 15m ./deploy/...
	go test -count=1 -run Chart ./cmd/signup-sheet

.PHONY: chart-schemas
chart-schemas: ## Writes the schemas of Kubernetes that chart-test uses; downloads Kubernetes
	go run ./internal/kubeschemas -o deploy/helm/testdata/schemas v1.32.0 v1.37.2

.PHONY: bench
bench: build ## The program beside a bare loop (half an hour): writes docs/benchmarks.md; CELLS=regexp and PAIRS=1 choose, and only print
	go build -o bin/bench ./internal/bench
	exec bin/bench -program bin/signup-sheet -cells '$(CELLS)' -pairs $(PAIRS) $(if $(REPORT),-o $(REPORT))

.PHONY: lint
lint: $(TOOLS) ## Format, import tree and all that .golangci.yml asks for
	.tools/bin/golangci-lint run ./...
	go mod tidy -diff

.PHONY: fmt
fmt: $(TOOLS) ## Formats the code
	.tools/bin/golangci-lint fmt

.PHONY: vuln
vuln: $(TOOLS) ## Known vulnerabilities that the program can reach; GOVULNDB=URL (https:// or file://) of a mirror where there is no internet
	@out=$$(.tools/bin/govulncheck $${GOVULNDB:+-db "$$GOVULNDB"} ./cmd/signup-sheet 2>&1) && { echo "$$out"; exit; } || code=$$?; \
	echo "$$out"; \
	if grep -q 'fetching vulnerabilities' <<< "$$out"; then \
		echo 'vuln: NOT CHECKED: the vulnerability database cannot be reached. Set GOVULNDB to a mirror of it.'; \
	fi; exit $$code

.PHONY: check-binary
check-binary: ## Nothing that is for tests is in the program
	@deps=$$(go list -deps ./cmd/signup-sheet); \
	found=$$(grep -E '^(testing|net/http/httptest|go.uber.org/goleak|github.com/chromedp|github.com/standard-webhooks|signup-sheet/internal|signup-sheet/cmd/demo|github.com/twmb/franz-go)(/|$$)' <<< "$$deps" \
		| grep -vE '^github.com/twmb/franz-go/pkg/kmsg(/|$$)' || true); \
	if [ -n "$$found" ]; then echo "cmd/signup-sheet depends on what is for tests:"; echo "$$found"; exit 1; fi; \
	echo "cmd/signup-sheet: no test dependencies"

# Not in it: vuln, whose answer changes while the code does not.
.PHONY: check
check: ## All that CI runs: quick checks first, Apache Kafka last
	$(MAKE) --no-print-directory check-binary
	$(MAKE) --no-print-directory lint
	$(MAKE) --no-print-directory build
	$(MAKE) --no-print-directory demo ONCE=1000
	$(MAKE) --no-print-directory fuzz FUZZTIME=5s
	$(MAKE) --no-print-directory allocs
	$(MAKE) --no-print-directory chart-test KUBECONFIG=
	$(MAKE) --no-print-directory test-apps-script
	$(MAKE) --no-print-directory test
	$(MAKE) --no-print-directory test-browser
	$(MAKE) --no-print-directory chaos
	$(MAKE) --no-print-directory test-kafka

.PHONY: clean
clean: ## Removes what was built here
	rm -rf bin .tools

$(TOOLS): tools/go.mod tools/go.sum
	@echo "building golangci-lint and govulncheck (minutes, the first time)"
	cd tools && GOFLAGS=-buildvcs=false GOBIN='$(CURDIR)/.tools/bin' go install tool
	@rm -f .tools/go*.stamp; touch $@

# In a module of their own: Helm brings half of Kubernetes along, and versions that linters would have to share.
$(CHART_TOOLS): tools/chart/go.mod tools/chart/go.sum
	@echo "building helm and kubeconform (minutes, the first time)"
	cd tools/chart && CGO_ENABLED=0 GOFLAGS='-buildvcs=false -trimpath' GOBIN='$(CURDIR)/.tools/bin' go install -ldflags '-s -w' tool
	@rm -f .tools/chart-*.stamp; touch $@
