#!/bin/sh
# Builds the image of a node from scratch, without a registry. The image contains this machine's redis-server or
# valkey-server, its command-line client for the health check, and the libraries that ldd lists for both.
#
#   docker/image.sh [NAME]      NAME is redlock-node:local by default
set -eu

name=${1:-redlock-node:local}
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "docker-image: $*" >&2
    exit 1
}

program() {
    for one in "$@"; do
        if [ -n "$one" ] && command -v "$one" 2>/dev/null; then return; fi
    done
    fail "none of $* is on the PATH; make setup installs a server"
}

# Copies a program to the name that compose.yaml uses, and each of its libraries to the path where the loader searches.
install_program() {
    mkdir -p "$context/usr/bin"
    cp -L "$1" "$context/usr/bin/$2"
    ldd "$1" | sed -n 's/^.*=> \(\/[^ ]*\) .*$/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*$/\1/p' | while read -r library; do
        mkdir -p "$context$(dirname "$library")"
        cp -L "$library" "$context$library"
    done
}

command -v docker >/dev/null || fail "docker is missing"
command -v ldd >/dev/null || fail "ldd is missing; it names the libraries that a server needs"
server=$(program "${REDIS_SERVER:-}" redis-server valkey-server)
client=$(program redis-cli valkey-cli)
install_program "$server" redis-server
install_program "$client" redis-cli
mkdir -p "$context/data" "$context/tmp"
docker build --quiet --tag "$name" --file "$here/Dockerfile" "$context" >/dev/null
echo "docker-image: $name is $("$server" --version | sed 's/ sha=.*//'), $(du -sh "$context" | cut -f 1)"
