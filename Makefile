# make demo and make test do all the set-up on a fresh Debian machine with Go.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)

HOSTS   := ./cmd/supervisord/internal/hosts
NFPM    := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
# A release's tag without its v; else the time of the commit, which sorts.
RELEASE := $(shell git describe --tags --exact-match 2>/dev/null | sed 's/^v//')
DEBVERSION ?= $(or $(RELEASE),0~$(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y%m%d%H%M%S 2>/dev/null || echo 0))

.PHONY: all build deb demo test test-hosts unit lint bench sim clean

all: build

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/supervisord ./cmd/supervisord

# The Debian package, for this machine's architecture.
DEB := dist/supervisord_$(DEBVERSION)_$(shell $(GO) env GOARCH).deb
deb: build
	mkdir -p dist
	./bin/supervisord install --print --binary /usr/bin/supervisord > dist/supervisord.service
	VERSION='$(DEBVERSION)' ARCH=$(shell $(GO) env GOARCH) $(GO) run $(NFPM) package -f systemd/package/nfpm.yaml -p deb -t $(DEB)

# Shows the main job for real: load, scale-out, scale-in, behind nginx.
demo: build
	./.ci/install demo
	./bin/supervisord demo

# All tests, with the race detector, against a real engine, nginx and databases;
# then the simulation of clusters with 200 seeds, and three real hosts.
test: lint
	./.ci/install test
	$(GO) test -race -timeout 20m ./...
	$(GO) test ./supervisor -run '^TestSimCluster' -sim.runs=100 -timeout 20m
	$(GO) test -tags hosts -short -v -count=1 -timeout 15m $(HOSTS)

# Three real hosts on this machine, each with its own systemd, engine and nginx,
# and all that may happen to them, under load: some ten minutes.
test-hosts: deb
	./.ci/install test
	SUPERVISORD_DEB=$(CURDIR)/$(DEB) $(GO) test -tags hosts -v -count=1 -timeout 30m $(HOSTS)

# The tests that need nothing but Go.
unit:
	$(GO) test -race -short ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-clean:"; gofmt -l .; exit 1; }
	$(GO) vet -tags hosts ./...
	$(GO) tool staticcheck -tags hosts ./...

# The cluster simulation, many more seeds than make test takes.
sim:
	$(GO) test ./supervisor -run TestSim -sim.runs=10000 -timeout 60m

# The figures: medians of one run on this machine.
bench: build
	./.ci/install test
	$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

clean:
	rm -rf bin dist
