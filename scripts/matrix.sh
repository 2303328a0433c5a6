#!/bin/sh
# Runs the suites against each server that scripts/servers.sh has built, and writes the table in docs/servers.md. A
# failed cell is written to the table as well, and makes this script fail at the end.
#
#   scripts/matrix.sh             every server in target/servers
#   scripts/matrix.sh NAME...     only these; the rows of the others stay unchanged
#
# SUITES="tool chaos" in the environment runs only these suites; the other cells stay unchanged.
# The output of every suite is in target/matrix/NAME-SUITE.log.
set -eu

# Time limit of a suite, long enough for a busy machine. A suite that hangs is a result and does not stop the matrix.
LIMIT=20m
ALL="unit contract tool nemesis demo chaos"
SUITES=${SUITES:-$ALL}

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
logs=$here/target/matrix
document=$here/docs/servers.md
cargo=${CARGO:-cargo}

main() {
    cd "$here"
    command -v timeout >/dev/null || fail "timeout is missing; it is one of the GNU coreutils"
    [ $# -gt 0 ] || for name in $(sh scripts/servers.sh --list); do
        if sh scripts/servers.sh --path "$name" >/dev/null 2>&1; then set -- "$@" "$name"; fi
    done
    [ $# -gt 0 ] || fail "there is no server in target/servers; make servers builds them"
    mkdir -p "$logs"
    # The whole workspace is built at once, here and below, because other features would build everything again.
    "$cargo" build --locked --workspace --all-features --bins --tests
    failed=
    for name in "$@"; do
        row "$name"
        write
    done
    [ -z "$failed" ] || fail "not as it should be:$failed; the logs are in target/matrix"
}

row() {
    REDIS_SERVER=$(sh scripts/servers.sh --path "$1")
    export REDIS_SERVER
    for suite in $SUITES; do
        log=$logs/$1-$suite.log
        status=0
        run "$suite" >"$log" 2>&1 </dev/null || status=$?
        cell=$(cell "$suite" "$log" "$status")
        say "$1: $suite: $cell"
        echo "$cell" >"$logs/$1-$suite.cell"
        [ "$status" -eq 0 ] || failed="$failed $1/$suite"
    done
    row="| $(cat "target/servers/$1/version") | $(date -u +%Y-%m-%d) |"
    for suite in $ALL; do
        row="$row $(cat "$logs/$1-$suite.cell" 2>/dev/null || echo "**not run**") |"
    done
    echo "$row" >"$logs/$1.row"
}

run() {
    case $1 in
        chaos)
            timeout "$LIMIT" "${CARGO_TARGET_DIR:-target}/debug/redlock" chaos --scenario random --duration 20s --clients 8
            ;;
        unit) timeout "$LIMIT" "$cargo" test --locked --workspace --all-features --lib -- --show-output ;;
        *) timeout "$LIMIT" "$cargo" test --locked --workspace --all-features --test "$1" -- --show-output ;;
    esac
}

# The result of a suite, from its log and its exit code.
cell() {
    tests=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$2")
    case $1 in
        unit) tests=$(echo "$tests" | awk '{ passed += $1; failed += $2 } END { print passed + 0, failed + 0 }') ;;
        # Some tests in the other suites start processes that print such a line, too; the last line counts.
        *) tests=$(echo "$tests" | tail -n 1) ;;
    esac
    skipped=$(grep -c '^SKIPPED' "$2" || true)
    case $1/$3 in
        */124) echo "**no end within $LIMIT**" ;;
        chaos/0) echo "clean" ;;
        chaos/*) echo "**not clean**" ;;
        */0) echo "${tests% *} passed$([ "$skipped" -eq 0 ] || echo ", $skipped parts skipped")" ;;
        *) echo "**${tests#* } failed, ${tests% *} passed**" ;;
    esac
}

# Writes the table between its two marks in the document.
write() {
    table=$logs/table
    {
        echo "| server | tested on | $(echo "$ALL" | sed 's/ / | /g') |"
        echo "|---|---|$(echo "$ALL" | sed 's/[a-z]* */---|/g')"
        for name in $(sh scripts/servers.sh --list); do
            [ ! -f "$logs/$name.row" ] || cat "$logs/$name.row"
        done
    } >"$table"
    sed -e "/^<!-- begin: make matrix -->/r $table" \
        -e '/^<!-- begin: make matrix -->/,/^<!-- end: make matrix -->/ { /^|/ d }' "$document" >"$logs/document"
    cp "$logs/document" "$document"
    say "the table is in docs/servers.md"
}

say() {
    echo "matrix: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

main "$@"
