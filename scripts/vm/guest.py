"""The scripts that run inside the virtual machine before the command."""

import shlex
from collections.abc import Sequence

# The root file system is an overlay of two 9p shares and a tmpfs: the host's own files,
# read-only; above them the kernel's modules and headers; on top, what the guest writes.
NINE_P = "mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000"

INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /m
/bin/busybox mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
mount -t tmpfs -o mode=755 tmpfs /m
cd /m
mkdir host layer upper work root
{NINE_P},ro,cache=loose host host
{NINE_P},ro,cache=loose layer layer
mount -t overlay -o lowerdir=layer:host,upperdir=upper,workdir=work overlay root
cd root
mount -t tmpfs -o mode=755 tmpfs run
mkdir run/vmtest run/lock
{NINE_P},cache=none control run/vmtest
mount --move /dev dev
mkdir dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
mount -t tracefs tracefs sys/kernel/tracing
mount -t debugfs debugfs sys/kernel/debug
mount -t securityfs securityfs sys/kernel/security
ip link set lo up
mkfifo run/vmtest.out run/vmtest.err
cp /bin/busybox run
mount --move /proc proc
exec /bin/busybox switch_root /m/root /run/busybox sh /run/vmtest/main
"""


def main_script(  # noqa: PLR0913 -- a name each
    *,
    command: list[str],
    environment: dict[str, str],
    folder: str,
    host: str,
    writable: list[str],
    shared: Sequence[str] = (),
) -> str:
    """Return the shell script that runs `command` in `folder` and saves its status.

    `shared` are where its shares go, in order, and `writable` those that it writes.
    """
    mounts = "\n".join(
        [
            *(_overlay(number, path) for number, path in enumerate(shared)),
            *(
                # A guest of another architecture has no such folder by itself.
                f"mkdir -p {shlex.quote(path)}; "
                f"{NINE_P},cache=mmap writable{number} {shlex.quote(path)}"
                for number, path in enumerate(writable)
            ),
        ]
    )
    words = [f"{name}={value}" for name, value in environment.items()]
    run = shlex.join(["/run/busybox", "env", "-i", *words, *command])
    return f"""cd /run/vmtest
hostname {shlex.quote(host)}
{mounts}
cat ../vmtest.out >>out & out=$!
cat ../vmtest.err >>err & err=$!
>started
(cd {shlex.quote(folder)} && exec {run}) </dev/null >../vmtest.out 2>../vmtest.err
status=$?
# Processes that the command left may hold the pipes open: wait up to a second.
for turn in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $out 2>&- || kill -0 $err 2>&- || break
    sleep 0.1
done
echo $status >status
reboot -f
"""


# A share that the guest may write over, as it may over the root file system.
def _overlay(number: int, path: str) -> str:
    at, work = shlex.quote(path), f"/run/vmtest.shared{number}"
    return (
        f"mkdir -p {at} {work}/lower {work}/upper {work}/work\n"
        f"{NINE_P},ro,cache=loose shared{number} {work}/lower\n"
        f"mount -t overlay -o lowerdir={work}/lower,upperdir={work}/upper,"
        f"workdir={work}/work shared{number} {at}"
    )
