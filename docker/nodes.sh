#!/bin/sh
# Starts and stops the nodes of compose.yaml, with either version of Compose.
#
#   docker/nodes.sh up [durable|volatile]    starts five nodes, waits until they are healthy, and prints their URLs; if
#                                            all nodes are new, they are declared new, as by `redlock init`
#   docker/nodes.sh down                     removes all of them, with their data
set -eu

LOCAL_IMAGE=redlock-node:local
HEALTHY_WITHIN=60 # seconds; a node needs one or two
# The files of durable nodes are in memory, where keeping every write takes no time and wears no disk.
MEMORY=/dev/shm
FILES=$MEMORY/redlock-nodes
ROOM_KB=819200 # 160 MB for each: an append-only file is rewritten from 64 MB on, and then there are two
NODES="1 2 3 4 5"
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)

main() {
    command -v docker >/dev/null || fail "docker is missing"
    docker info >/dev/null 2>&1 || fail "the Docker daemon does not answer: docker info says why"
    case ${1:-} in
        up) up "${2:-durable}" ;;
        down) down ;;
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
    services=$(for i in $NODES; do echo "$service-$i"; done)
    old=$(for one in $services; do if exists "redlock-$one"; then echo "$one"; fi; done)
    if [ "$service" = node ]; then keep_files; fi
    # shellcheck disable=SC2086 # a word for each service
    compose --profile volatile up --detach $services
    for one in $services; do await_health "redlock-$one"; done
    if [ "$service" = node ]; then declare_new; fi
    urls=$(for one in $services; do
        docker inspect --format 'redis://{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "redlock-$one"
    done | paste -s -d , -)
    echo "export REDLOCK_NODES=$urls"
}

down() {
    compose --profile volatile down --volumes --remove-orphans
    rm -rf "$FILES"
}

exists() {
    docker container inspect "$1" >/dev/null 2>&1
}

# Chooses where durable nodes keep their files. A new node begins without files; an existing node keeps its files where
# they are.
keep_files() {
    for i in $NODES; do
        if exists "redlock-node-$i"; then
            mount=$(docker inspect --format '{{range .Mounts}}{{if eq .Type "bind"}}{{.Source}}:{{end}}{{end}}' "redlock-node-$i")
        elif has_room && rm -rf "$FILES/$i" && mkdir -p "$FILES/$i"; then
            mount=$FILES/$i:
        else
            mount=
        fi
        export "REDLOCK_NODE_FILES_$i=$mount"
    done
    # The nodes run as this user, so that this user can remove their files.
    REDLOCK_NODE_USER=$(id -u):$(id -g)
    export REDLOCK_NODE_USER
}

has_room() {
    [ -w "$MEMORY" ] && [ "$(df -Pk "$MEMORY" | awk 'NR == 2 { print $4 }')" -ge "$ROOM_KB" ]
}

# Declares the nodes new if all are. A new node beside existing ones may lack a lock that the others know, so it has to
# stay in quarantine.
declare_new() {
    if [ -n "$old" ]; then
        new=$(for one in $services; do echo "$old" | grep -qx "$one" || echo "$one"; done)
        # shellcheck disable=SC2086 # in one line
        if [ -n "$new" ]; then say "not declared new, since others are not:" $new; fi
        return
    fi
    for one in $services; do
        docker exec "redlock-$one" redis-cli HSET redlock-quorum:node declared 1 >/dev/null
    done
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

# Chooses the image that was asked for, else the official one, else an image of this machine's own server.
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
