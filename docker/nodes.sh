#!/bin/sh
# Starts and stops the nodes of compose.yaml, with either generation of Compose.
#
#   docker/nodes.sh up [durable|volatile]    starts five nodes, waits until they are healthy, prints their URLs
#   docker/nodes.sh down                     removes all of them, with their data
set -eu

LOCAL_IMAGE=redlock-node:local
HEALTHY_WITHIN=60 # seconds; a node needs one or two
# Says of a node that is empty that it is new, so that its votes count at once.
DECLARE="return redis.call('DBSIZE') == 0 and redis.call('HSET', 'redlock:node', 'declared', '1')"
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)

main() {
    command -v docker >/dev/null || fail "docker is missing"
    docker info >/dev/null 2>&1 || fail "the Docker daemon does not answer: docker info says why"
    case ${1:-} in
        up) up "${2:-durable}" ;;
        down) compose --profile volatile down --volumes --remove-orphans ;;
        *) fail "usage: docker/nodes.sh up [durable|volatile] | down" ;;
    esac
}

up() {
    case $1 in
        durable) service=node ;;
        volatile) service=volatile ;;
        *) fail "the nodes are durable or volatile, not $1" ;;
    esac
    choose_image
    services=$(for i in 1 2 3 4 5; do echo "$service-$i"; done)
    # shellcheck disable=SC2086 # a word for each service
    compose --profile volatile up --detach $services
    for one in $services; do
        await_health "redlock-$one"
        docker exec "redlock-$one" redis-cli EVAL "$DECLARE" 0 >/dev/null
    done
    urls=$(for one in $services; do
        docker inspect --format 'redis://{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "redlock-$one"
    done | paste -s -d , -)
    echo "export REDLOCK_NODES=$urls"
}

compose() {
    if docker compose version >/dev/null 2>&1; then
        docker compose --project-name redlock --file "$here/compose.yaml" "$@"
    elif command -v docker-compose >/dev/null; then
        docker-compose --project-name redlock --file "$here/compose.yaml" "$@"
    else
        fail "neither docker compose nor docker-compose is here"
    fi
}

# The image that was asked for, else the official one, else one of this machine's own server.
choose_image() {
    if [ -n "${REDLOCK_NODE_IMAGE:-}" ]; then return; fi
    official=$(sed -n 's/^.*REDLOCK_NODE_IMAGE:-\([^}]*\)}.*$/\1/p' "$here/compose.yaml")
    if docker image inspect "$official" >/dev/null 2>&1 || docker pull --quiet "$official" >/dev/null 2>&1; then return; fi
    say "$official cannot be pulled; using this machine's own server"
    docker image inspect "$LOCAL_IMAGE" >/dev/null 2>&1 || sh "$here/image.sh" "$LOCAL_IMAGE" >&2
    REDLOCK_NODE_IMAGE=$LOCAL_IMAGE
    export REDLOCK_NODE_IMAGE
}

await_health() {
    waited=0
    until [ "$(docker inspect --format '{{.State.Health.Status}}' "$1")" = healthy ]; do
        [ "$waited" -lt "$HEALTHY_WITHIN" ] || fail "$1 is not healthy after $HEALTHY_WITHIN s: docker logs $1 says why"
        sleep 1
        waited=$((waited + 1))
    done
}

say() {
    echo "docker: $*" >&2
}

fail() {
    say "$*"
    exit 1
}

main "$@"
