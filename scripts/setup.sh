# Sourced by the other scripts: brings in what is missing, once.
#
#   setup run    what `egressmon` needs
#   setup dev    that, and what the checks and tests need
#
# and lists, in vm_packages, what other kernels are run with.
#
# Debian 12, Ubuntu 24.04 (and 22.04 with python3.11 and libbpf0).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# A Python of at least 3.11; the distribution's own first.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "error: no Python 3.11 or later" >&2
    echo "hint: apt install python3 (Ubuntu 22.04: python3.11 python3.11-venv)" >&2
    return 125
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${Status}' "$package" 2>/dev/null)" = "install ok installed" ] ||
            echo "$package"
    done
}

install_packages() {
    local missing
    if ! command -v apt-get >/dev/null; then
        echo "egressmon: not a Debian system; these must be there already: $*" >&2
        return
    fi
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    echo "egressmon: installing" $missing >&2
    as_root apt-get update -q >&2
    # shellcheck disable=SC2086 -- one word a package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >&2
}

run_packages() {
    # libbpf-dev brings the library itself, whatever its package is called.
    echo python3-venv clang llvm libbpf-dev
}

dev_packages() {
    local headers=linux-headers-amd64 other=arm64
    if [ "$(uname -m)" = aarch64 ]; then headers=linux-headers-arm64 other=amd64; fi
    # Ubuntu's name for whichever machine.
    grep -qs '^ID=ubuntu' /etc/os-release && headers=linux-headers-generic
    # BCC with headers to compile with, and the other architecture's for the probes.
    echo python3-bpfcc "$headers" "linux-libc-dev-$other-cross"
    echo bind9-dnsutils clang-format curl dnsmasq-base gcc iproute2 libc6-dev libffi-dev \
        make musl-tools nodejs procps python3-dev rpm strace sudo util-linux
    # Not where another npm is on the PATH: pyright needs one, whichever.
    command -v npm >/dev/null || echo npm
}

vm_packages() {
    echo busybox-static cpio debian-archive-keyring kmod lz4 qemu-system-x86 util-linux \
        xz-utils zstd
}

# What an installation depends on; when it changes, the set-up runs again.
fingerprint() {
    (cd "$root" && cat pyproject.toml scripts/setup.sh scripts/build_hook.py \
        probes/egressmon/probes/*.[ch] probes/egressmon/probes/compile.py \
        probes/egressmon/probes/architecture.py |
        sha256sum | cut -d' ' -f1)
}

setup() {
    local what=$1 stamp=$venv/egressmon-$1.stamp print python
    print=$(fingerprint)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$print" ]; then return 0; fi
    # shellcheck disable=SC2046 -- one word a package
    install_packages $(run_packages) $([ "$what" = dev ] && dev_packages) || return 125
    python=$(find_python) || return 125
    echo "egressmon: preparing $venv" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || return 125
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check -q install)
    # Groups (PEP 735) came with pip 25.1; Debian 12 has 23.
    "${pip[@]}" --upgrade 'pip>=25.1' >&2 || return 125
    if [ "$what" = dev ]; then
        "${pip[@]}" --editable "$root" --group "$root/pyproject.toml:dev" >&2 || return 125
    else
        "${pip[@]}" --editable "$root" >&2 || return 125
    fi
    echo "$print" >"$stamp"
}
