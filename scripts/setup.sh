#!/bin/sh
# Makes sure that the tests and the demo can run. They need cargo, and a redis-server or valkey-server. This script
# installs a server with the system's package manager if there is none. No server is started, because tests start their
# own.
set -eu

OLDEST=6.2 # the oldest version that the library supports

main() {
    check_cargo
    check_variable
    server=$(find_server) || {
        install_server
        server=$(find_server) || fail "the package was installed, but there is no redis-server or valkey-server on the PATH.
$(by_hand)"
    }
    check_version "$server"
}

check_cargo() {
    command -v cargo >/dev/null || fail "cargo is missing. Install Rust from https://rustup.rs and run this again."
}

# A wrong REDIS_SERVER is an error, and not replaced by another server, because the user has chosen it.
check_variable() {
    [ -z "${REDIS_SERVER:-}" ] || command -v "$REDIS_SERVER" >/dev/null ||
        fail "REDIS_SERVER is $REDIS_SERVER, which is no program. Correct or unset it."
}

# Searches for a server in the same places as the tests.
find_server() {
    if [ -n "${REDIS_SERVER:-}" ]; then
        command -v "$REDIS_SERVER"
    else
        command -v redis-server || command -v valkey-server
    fi
}

check_version() {
    version=$("$1" --version | sed -n 's/.* v=\([0-9]*\.[0-9]*\).*/\1/p')
    [ "$(printf '%s\n' "$OLDEST" "${version:-0}" | sort -t . -k 1,1n -k 2,2n | head -n 1)" = "$OLDEST" ] ||
        fail "$1 has version ${version:-unknown}, and $OLDEST is the oldest that is supported.
$(by_hand)"
    say "server: $1, version $version"
}

install_server() {
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v brew >/dev/null; then
        root= # Homebrew refuses to run as root.
    elif ! command -v sudo >/dev/null; then
        fail "there is no Redis server, and installing one needs root or sudo.
$(by_hand)"
    elif [ -t 0 ]; then
        root=sudo
    else
        root="sudo -n" # Nobody is there to type a password.
    fi

    say "no redis-server or valkey-server found; installing one"
    if command -v apt-get >/dev/null; then
        install_with_apt
    elif command -v dnf >/dev/null; then
        run dnf install -y valkey || run dnf install -y redis || not_installed
    elif command -v apk >/dev/null; then
        run apk add redis || run apk add valkey || not_installed
    elif command -v pacman >/dev/null; then
        run pacman -S --needed --noconfirm valkey || not_installed
    elif command -v brew >/dev/null; then
        run brew install redis || not_installed
    else
        fail "none of apt-get, dnf, apk, pacman and brew is here.
$(by_hand)"
    fi
}

# Debian's package would start a service on port 6379, which nobody here needs. During the installation, a policy file
# forbids the start, unless the system has its own policy. Where systemd runs, the service is also disabled, so that it
# does not start with the machine.
install_with_apt() {
    run apt-get update || say "the package lists could not be renewed; trying with those that are there"
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        policy=
    else
        trap 'remove_policy' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null && $root chmod 755 "$policy"
    fi
    run env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server || not_installed
    remove_policy
    if [ -d /run/systemd/system ]; then
        run systemctl disable redis-server.service || true
    fi
}

remove_policy() {
    [ -z "$policy" ] || $root rm -f "$policy"
    policy=
}

run() {
    say "running: $root${root:+ }$*"
    # shellcheck disable=SC2086 # $root is empty or a command with its option
    $root "$@"
}

not_installed() {
    fail "the package manager could not install a server; its message is above.
$(by_hand)"
}

by_hand() {
    cat <<END
Install Redis $OLDEST or later, or Valkey 7.2 or later, and put redis-server or valkey-server on the PATH;
or set REDIS_SERVER to the path of one.
END
}

say() {
    echo "setup: $*"
}

fail() {
    echo "setup: $*" >&2
    exit 1
}

main
