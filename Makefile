# make demo and make test do all the set-up on a fresh Debian machine with Go.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

.PHONY: all build demo test unit lint bench sim clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/supervisord ./cmd/supervisord

# Shows the main job for real: load, scale-out, scale-in, behind nginx.
demo: build
	./.ci/install demo
	./bin/supervisord demo

# All tests, with the race detector, against a real engine, nginx and databases.
test: lint
	./.ci/install test
	$(GO) test -race -timeout 20m ./...

# The tests that need nothing but Go.
unit:
	$(GO) test -race -short ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-clean:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# The cluster simulation, many more seeds than make test takes.
sim:
	$(GO) test ./supervisor -run TestSim -sim.runs=10000 -timeout 60m

# The figures: medians of one run on this machine.
bench: build
	./.ci/install test
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

clean:
	rm -rf bin dist
