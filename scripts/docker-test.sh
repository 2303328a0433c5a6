#!/bin/sh
# Runs every ready-made scenario of `redlock chaos` against five containers and expects a clean verdict from each. The
# scenario clock-step has to be refused, because containers share their host's clock.
#
#   scripts/docker-test.sh REDLOCK...     the command that runs the tool
#
# REPORTS names a directory for the reports; by default none are kept.
set -eu

REFUSED=78 # exit code of a refused scenario
RANDOM_DURATION=15s
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

fail() {
    echo "docker-test: $*" >&2
    exit 1
}

docker info >/dev/null 2>&1 || fail "the Docker daemon does not answer: docker info says why"
scenarios=$("$@" chaos --list | cut -d ' ' -f 1)
sh "$here/docker/nodes.sh" up durable >/dev/null
trap 'sh "$here/docker/nodes.sh" down >/dev/null 2>&1' EXIT
trap 'exit 1' HUP INT TERM

for scenario in $scenarios; do
    options=
    case $scenario in
        random) options="--duration $RANDOM_DURATION" ;;
        clock-step | clocks-in-turn)
            status=0
            message=$("$@" chaos --nodes docker --scenario "$scenario" 2>&1) || status=$?
            [ "$status" -eq "$REFUSED" ] || fail "$scenario was not refused: $message"
            echo "$scenario: $message"
            continue
            ;;
    esac
    if [ -n "${REPORTS:-}" ]; then options="$options --report $REPORTS/$scenario"; fi
    # shellcheck disable=SC2086 # a word for each option
    "$@" --quiet chaos --nodes docker --scenario "$scenario" $options || fail "$scenario is not clean"
done
echo "docker-test: all scenarios are clean"
