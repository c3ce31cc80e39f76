# supervisord itself, for trying it in a container. On a host it is a systemd
# service (systemd/supervisord.service); docker-compose.yml shows what a
# container of it needs of its host.
#
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t supervisord .

FROM golang:1.26 AS build
WORKDIR /src
# The modules' layer stays as long as go.mod and go.sum do.
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /supervisord ./cmd/supervisord

FROM scratch
COPY --from=build /supervisord /supervisord
# Root, as the engine's socket is root's: whoever may use that is root anyway.
VOLUME /var/lib/supervisord
STOPSIGNAL SIGTERM
ENTRYPOINT ["/supervisord"]
CMD ["run"]
