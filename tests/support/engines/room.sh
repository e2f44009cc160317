# room.sh ROOT SCRATCH SHARED CGROUPS PATH...: become a process in a machine made of the folder ROOT, say
# "ready", and stay until the input ends. Started in new mount, cgroup, ipc and host name
# namespaces, and in the cgroup that is to be the room's root; the pids are the machine's.
#
# ROOT is not written to: what is written is in memory, and gone with the namespace.
# SHARED appears as /shared, and by its own name, too; it holds the room's resolv.conf.
# CGROUPS, the machine's hierarchy, is at /cgroups, for who is in no cgroup namespace.
# Each PATH is there as it is on the machine: what a program that is run there needs.
set -eu
root=$1 scratch=$2 shared=$3 cgroups=$4 new=$2/new
shift 4

mount -t tmpfs -o mode=755 none "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$new"
mount -t overlay -o "lowerdir=$root,upperdir=$scratch/upper,workdir=$scratch/work" none "$new"
mkdir "$new/old" "$new/shared" "$new/store" "$new/cgroups"
cp "$shared/resolv.conf" "$new/etc/resolv.conf"

mount -t proc none "$new/proc"
mount -t sysfs none "$new/sys"
# The only hierarchy there, as on a machine that was booted with cgroup v2 alone. Below a
# cgroup namespace it begins with the room's own cgroup. Who is in none of its children
# keeps an engine from making some, so everybody is.
mount -t cgroup2 none "$new/sys/fs/cgroup"
mkdir "$new/sys/fs/cgroup/host"
echo $$ >"$new/sys/fs/cgroup/host/cgroup.procs"

for place in run tmp store; do mount -t tmpfs -o mode=755,exec none "$new/$place"; done
chmod 1777 "$new/tmp"
mount -t tmpfs -o mode=755 none "$new/dev"
mkdir "$new/dev/net"
for node in null zero full random urandom tty fuse net/tun; do
    [ -e "/dev/$node" ] || continue
    # shellcheck disable=SC2046 -- its two numbers
    mknod -m 666 "$new/dev/$node" c $(stat -c '0x%t 0x%T' "/dev/$node")
done
mkdir "$new/dev/pts" "$new/dev/shm" "$new/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=666,mode=620 none "$new/dev/pts"
ln -s pts/ptmx "$new/dev/ptmx"
ln -s /proc/self/fd "$new/dev/fd"
mount -t tmpfs -o mode=1777 none "$new/dev/shm"
mount -t mqueue none "$new/dev/mqueue"

mount --bind "$shared" "$new/shared"
mount --bind "$cgroups" "$new/cgroups"
for path in "$shared" "$@"; do
    if [ -d "$path" ]; then
        mkdir -p "$new$path"
    else
        mkdir -p "$new${path%/*}"
        : >"$new$path"
    fi
    mount --bind "$path" "$new$path"
done
hostname engines
cd "$new"
pivot_root . old # not chroot: runc cannot pivot inside one
umount -l /old
cd /
mount --make-rshared / # rootless podman asks for it
echo ready
exec cat >/dev/null
