#!/bin/sh
# Checks what has to be there before anything is built, and installs Debian packages when it may.
set -eu

missing=0
complain() {
    echo "missing: $1" >&2
    echo "  run: $2" >&2
    missing=1
}

# version_at_least HAVE WANT
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

packages=""
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
need cc build-essential
need make make
need git git
need curl curl
[ -e /etc/ssl/certs/ca-certificates.crt ] || packages="$packages ca-certificates"

if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # a list of names, on purpose
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        echo "installing:$packages"
        DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages >/dev/null
    elif command -v apt-get >/dev/null 2>&1; then
        complain "packages$packages" "sudo apt-get update && sudo apt-get install -y$packages"
    else
        complain "programs of the Debian packages$packages" "your system's package manager, for the same programs"
    fi
fi

if ! command -v rustup >/dev/null 2>&1; then
    complain "rustup, which brings the pinned toolchain" "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
else
    channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    if ! rustup run "$channel" cargo --version >/dev/null 2>&1 ||
        ! rustup run "$channel" cargo clippy --version >/dev/null 2>&1 ||
        ! rustup run "$channel" cargo fmt --version >/dev/null 2>&1; then
        rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy
    fi
fi

want_go=1.26.0
if ! command -v go >/dev/null 2>&1; then
    complain "Go $want_go or newer, for the programs of the local cluster" \
        "see https://go.dev/doc/install"
else
    have_go=$(go env GOVERSION | sed 's/^go//')
    version_at_least "$have_go" "$want_go" ||
        complain "Go $want_go or newer (this is $have_go)" "see https://go.dev/doc/install"
fi

[ "$missing" = 0 ] || exit 1
