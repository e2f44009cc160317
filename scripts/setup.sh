# Functions for the other scripts, which source this: they install what is missing.
#
#   setup run            make .venv with what `egressmon` needs to run
#   setup dev            make .venv with that, and what the checks and tests need
#   installed_for_root   install this checkout where only root can write; print where
#   in_roots_checkout    run the calling script as root, in a copy that only root can write
#
# Root must run only code that root alone can change. Whoever is root already, and whose
# checkout is writable by root alone, runs from .venv.
#
# For Debian 12 and Ubuntu 24.04 (and 22.04 with python3.11 and libbpf0).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

# Python reads these even with -I, and would believe a pyvenv.cfg in their folder.
unset PYTHONEXECUTABLE __PYVENV_LAUNCHER__

# Run a command as root, by the system's sudo and not one that is first on the PATH.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else "$(command -pv sudo)" "$@"; fi
}

# Note the environment and the signals' state for the command, before bash or Python change
# them: see monitor/egressmon/startup/environment.py. Set $blocking to the words that start
# Python with SIGINT blocked, if env can do that. launcher.sh does the same, and says why.
note_environment() {
    local name mask all
    blocking=()
    blocking=(/usr/bin/env --block-signal=INT)
    all=$("${blocking[@]}" PATH=/usr/bin:/bin od -An -v -tx1 /proc/$$/environ 2>/dev/null) || {
        blocking=()
        all=$(command -p od -An -v -tx1 /proc/$$/environ)
    }
    all="* $all"
    [ ${#all} -lt 130000 ] || all="PWD,OLDPWD,SHLVL,_,PYTHONEXECUTABLE,__PYVENV_LAUNCHER__,_EGRESSMON_RESTORED,_EGRESSMON_SIGNALS $(
        command -p grep -zaE '^(PWD|OLDPWD|SHLVL|_|PYTHONEXECUTABLE|__PYVENV_LAUNCHER__|_EGRESSMON_RESTORED|_EGRESSMON_SIGNALS)=' /proc/$$/environ | command -p od -An -v -tx1
    )"
    export _EGRESSMON_RESTORED="$$ $all"
    while read -r name mask; do
        case $name in
        SigBlk:) export _EGRESSMON_SIGNALS="$mask" ;;
        SigIgn:) _EGRESSMON_SIGNALS="$$ $mask:$_EGRESSMON_SIGNALS" ;;
        esac
    done < <(command -p cat /proc/self/status) # as bash has it for others: it ignores SIGQUIT itself
}

# Print a Python of at least 3.11; the distribution's own is preferred.
find_python() {
    local candidate
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
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

# The other architecture's kernel headers, for its probes.
cross_packages() {
    if [ "$(uname -m)" = aarch64 ]; then echo linux-libc-dev-amd64-cross; else echo linux-libc-dev-arm64-cross; fi
}

dev_packages() {
    local headers=linux-headers-amd64
    if [ "$(uname -m)" = aarch64 ]; then headers=linux-headers-arm64; fi
    # Ubuntu has one name for all architectures.
    grep -qs '^ID=ubuntu' /etc/os-release && headers=linux-headers-generic
    echo python3-bpfcc "$headers" # which are for BCC
    cross_packages
    echo bind9-dnsutils clang-format curl dnsmasq-base gcc iproute2 jq libc6-dev libffi-dev \
        make musl-tools nftables nodejs openssl passt procps python3-dev rpm strace sudo systemd util-linux
    # pyright needs an npm; any on the PATH will do.
    command -v npm >/dev/null || echo npm
}

vm_packages() {
    echo busybox-static cpio debian-archive-keyring kmod lz4 qemu-system-x86 util-linux \
        xz-utils zstd
}

# What machines of other architectures need besides, if a word before -- asks for such.
foreign_packages() {
    local word
    for word in "$@"; do
        case $word in
        --) return ;;
        arm64*/*) echo qemu-system-arm && cross_packages && return ;;
        esac
    done
}

engine_packages() {
    echo busybox-static debian-archive-keyring mmdebstrap util-linux
}

# For root folders of Debian's: what images are made of, and packages tried in.
root_packages() {
    echo debian-archive-keyring mmdebstrap zstd
}

# A digest of all that .venv depends on; when it changes, it is set up again.
fingerprint() {
    (cd "$root" && cat pyproject.toml scripts/setup.sh scripts/build_hook.py \
        scripts/launcher.sh scripts/requirements/*.txt monitor/egressmon/requirements.txt \
        probes/egressmon/probes/programs/*.[ch] \
        probes/egressmon/probes/programs/python/*.[ch] probes/egressmon/probes/compile.py \
        probes/egressmon/probes/architecture.py |
        sha256sum | cut -d' ' -f1)
}

# A digest of all files that a wheel is made of, and of its Python's path.
content() {
    (cd "$root" && readlink -f "$(find_python 2>/dev/null)"; find pyproject.toml README.md LICENSE LICENSES \
        scripts/launcher.sh scripts/build_hook.py scripts/requirements/build.txt \
        monitor policy probes -type f ! -name '*.pyc' ! -name '*.bpf.o' -print0 |
        LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -d' ' -f1
}

# Run Python code that imports modules of this checkout, which need no other package.
own_python() {
    local python=$1 code=$2
    shift 2
    "$python" -I -B -c "import sys; sys.path[:0] = ['$root/monitor']; $code" "$@"
}

# Fail if root would set up a checkout that others can change. $1 is a Python.
require_own_checkout() {
    local why
    [ "$(id -u)" = 0 ] || return 0
    why=$(own_python "$1" 'import os
from egressmon.startup.ownership import obstacle_in_tree
names = set(os.listdir(sys.argv[1])) - {".git", ".egressmon"}
found = (obstacle_in_tree(f"{sys.argv[1]}/{name}") for name in sorted(names))
print(next(filter(None, found), ""))' "$root") || return 125
    [ -n "$why" ] || return 0
    echo "error: root would run code that others can change: $why" >&2
    echo "hint: run this script as the user whose checkout it is, or chown and chmod it" >&2
    return 125
}

# Fail if root would use a .venv that others can change. To be called before its stamp is
# read or its Python is started, which reads pyvenv.cfg, .pth files and sitecustomize.
require_own_venv() {
    local at why paths=("$venv" "$venv"/. "$venv"/{bin,bin/.,lib,lib/.,pyvenv.cfg} "$venv"/bin/python*
        "$venv"/*.stamp "$venv"/lib/python*{,/site-packages{,/*.pth,/sitecustomize*}})
    [ "$(id -u)" = 0 ] && [ -e "$venv" ] || return 0
    at=$(command -p readlink -f "$venv/bin/python") || at=
    for (( ; ${#at}; )); do
        paths+=("$at")
        at=${at%/*}
    done
    why=$(command -p find "${paths[@]}" -maxdepth 0 \( ! -user 0 -o ! -type l -perm /022 \
        ! \( -type d -perm -1000 \) \) -print -quit 2>/dev/null) || true
    [ -n "$why" ] || return 0
    echo "error: root would run code that others can change: $why" >&2
    echo "hint: remove $venv, or run this script as the user whose checkout it is" >&2
    return 125
}

pip_install() {
    "$venv/bin/python" -I -m pip --disable-pip-version-check -q install "$@" >&2
}

locked() {
    pip_install --require-hashes --only-binary :all: --requirement "$1"
}

# Make .venv with what is needed to build egressmon; $@ are more packages for apt.
make_venv() {
    local python
    if [ -e "$venv" ] && [ ! -w "$venv" ]; then
        echo "error: $venv is another user's, and not set up for this version" >&2
        echo "hint: have it set up by its owner, or removed: sudo rm -r $venv" >&2
        return 125
    fi
    # shellcheck disable=SC2046 -- one word a package
    install_packages $(run_packages) "$@" || return 125
    python=$(find_python) || return 125
    require_own_checkout "$python" || return 125
    echo "egressmon: preparing $venv" >&2
    [ -x "$venv/bin/python" ] || "$python" -I -m venv "$venv" || return 125
    locked "$root/scripts/requirements/build.txt" || return 125
}

# In a subshell: PYTHON* variables are for the command, and must not affect the build.
setup() (
    unset "${!PYTHON@}"
    local what=$1 stamp=$venv/egressmon-$1.stamp print
    require_own_venv || return 125
    print=$(fingerprint)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$print" ]; then return 0; fi
    if [ "$what" = dev ]; then
        # shellcheck disable=SC2046 -- one word a package
        make_venv $(dev_packages) || return 125
        locked "$root/scripts/requirements/dev.txt" || return 125
    else
        make_venv || return 125
        locked "$root/monitor/egressmon/requirements.txt" || return 125
    fi
    pip_install --no-deps --no-index --no-build-isolation --editable "$root" || return 125
    echo "$print" >"$stamp"
)

# Print the folder of an installation of this checkout that only root can write; make it
# if there is none. With --first, do not replace another installation.
installed_for_root() {
    local stamp=$venv/egressmon-installed.stamp print folder built
    unset "${!PYTHON@}" # as in setup: callers use $(...), which is a subshell
    require_own_venv || return 125
    print=$(content)
    folder=$(sed -n "s/^$print //p" "$stamp" 2>/dev/null) || true
    if [ -n "$folder" ] && [ -e "$folder/installed.json" ]; then
        echo "$folder"
        return
    fi
    make_venv || return 125
    built=$(mktemp -d) || return 125
    "$venv/bin/python" -I -m pip --disable-pip-version-check -q wheel --no-deps --no-index \
        --no-build-isolation --wheel-dir "$built" "$root" >&2 &&
        folder=$(own_python "$venv/bin/python" \
            'from egressmon.installation.install import script; sys.exit(script(sys.argv[1:]))' \
            "$built"/*.whl "$@") || folder=
    rm -r "$built"
    [ -n "$folder" ] || return 125
    echo "$(content) $folder" >"$stamp" # anew: make_venv may have installed Python
    echo "$folder"
}

# A script for root: unpack the checkout from standard input in place of the last copy,
# but keep that copy's .venv. tar(1) refuses paths that lead out of the folder.
unpack='
umask 022
for place in /opt /usr/local/lib /var/lib; do
    [ -n "$(find "$place" -maxdepth 0 -user 0 ! -perm /022)" ] && break
done
to=$place/egressmon/checkout
mkdir -p "$to.new" || exit 125
tar -C "$to.new" --no-same-owner --no-same-permissions -xf - || exit 125
[ ! -d "$to/.venv" ] || mv "$to/.venv" "$to.new/.venv"
rm -rf "$to"
mv "$to.new" "$to"
echo "$to"
'

# For root, return. For a user, copy the checkout and run the calling script there as root,
# without returning. Words before `--` go to sudo, in front of the script; behind it are
# the script's name and arguments. PATH is the one that sudo sets for root.
in_roots_checkout() {
    local words=() to sudo
    while [ "$1" != -- ]; do
        words+=("$1")
        shift
    done
    shift
    [ "$(id -u)" != 0 ] || return 0
    echo "egressmon: running scripts/$1 as root, in a copy of this checkout" >&2
    to=$(tar -C "$root" --exclude=./.venv --exclude=./.egressmon --exclude='./.*_cache' \
        --exclude=__pycache__ --exclude='*.bpf.o' -cf - . | as_root sh -c "$unpack") || return 125
    sudo=$(command -pv sudo)
    exec "$sudo" "${words[@]}" "$to/scripts/$1" "${@:2}"
}
