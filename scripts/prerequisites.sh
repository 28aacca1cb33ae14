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

is_root() {
    [ "$(id -u 2>/dev/null)" = 0 ]
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
    if command -v apt-get >/dev/null 2>&1 && is_root; then
        echo "installing:$packages"
        DEBIAN_FRONTEND=noninteractive apt-get -q update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages >/dev/null
    elif command -v apt-get >/dev/null 2>&1; then
        complain "packages$packages" "sudo apt-get update && sudo apt-get install -y$packages"
    else
        complain "programs of the Debian packages$packages" "your system's package manager, for the same programs"
    fi
fi

# The first that reads rust-toolchain.toml.
want_rustup=1.23.0
if ! command -v rustup >/dev/null 2>&1; then
    complain "rustup, which brings the pinned toolchain" "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
else
    have_rustup=$(rustup --version 2>/dev/null | sed -n 's/^rustup \([0-9.]*\).*/\1/p')
    version_at_least "$have_rustup" "$want_rustup" ||
        complain "rustup $want_rustup or newer (this is ${have_rustup:-another program})" "rustup self update"
    channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    if ! rustup run "$channel" cargo --version >/dev/null 2>&1 ||
        ! rustup run "$channel" cargo clippy --version >/dev/null 2>&1 ||
        ! rustup run "$channel" cargo fmt --version >/dev/null 2>&1; then
        rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy
    fi
fi

want_go=1.26.0
# Prints the commands that put Go in place, in place of an older one.
install_go() {
    # In place of a PATH that lacks everything.
    case $(PATH=/usr/bin:/bin:$PATH && uname -m) in
        x86_64) machine=amd64 ;;
        aarch64 | arm64) machine=arm64 ;;
        *)
            echo "see https://go.dev/doc/install"
            return
            ;;
    esac
    sudo="sudo "
    if is_root; then sudo=""; fi
    archive=go$want_go.linux-$machine.tar.gz
    # shellcheck disable=SC2016 # whoever types it has the PATH
    printf '%s && %s && %s && %s\n' \
        "curl -fsSL https://go.dev/dl/$archive -o /tmp/$archive" \
        "${sudo}rm -rf /usr/local/go" \
        "${sudo}tar -C /usr/local -xzf /tmp/$archive" \
        'export PATH=/usr/local/go/bin:$PATH'
}
if ! command -v go >/dev/null 2>&1; then
    complain "Go $want_go or newer, for the programs of the local cluster" "$(install_go)"
else
    have_go=$(go env GOVERSION | sed 's/^go//')
    version_at_least "$have_go" "$want_go" ||
        complain "Go $want_go or newer (this is $have_go)" "$(install_go)"
fi

[ "$missing" = 0 ] || exit 1
