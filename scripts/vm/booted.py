"""The scripts of a guest that systemd boots, from Debian in a folder of its own."""

import guest

# What starts by itself, and takes a slow machine's time for nothing.
_MASKED = (
    "getty@tty1.service serial-getty@ttyS0.service apt-daily.timer fstrim.timer "
    "apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer "
    "systemd-journal-flush.service systemd-update-utmp.service "
    "systemd-binfmt.service systemd-udev-hwdb-update.service"
)
_UNIT = """[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh /vmtest/main
StandardOutput=append:/vmtest/out
StandardError=append:/vmtest/err
ExecStopPost=/bin/sh -c 'echo "$EXIT_STATUS" >/vmtest/status'
ExecStopPost=/bin/systemctl poweroff -f -f
"""
# The root file system is an overlay as for other guests; systemd mounts the rest.
_HEAD, _, _ = guest.INIT.partition("cd root\n")
INIT = f"""{_HEAD}cd root
mkdir -p vmtest etc/systemd/system/multi-user.target.wants
{guest.NINE_P},cache=none control vmtest
cat >etc/systemd/system/vmtest.service <<'END'
{_UNIT}END
ln -s ../vmtest.service etc/systemd/system/multi-user.target.wants/vmtest.service
for unit in {_MASKED}; do ln -sf /dev/null etc/systemd/system/$unit; done
: >etc/fstab
echo 0123456789abcdef0123456789abcdef >etc/machine-id
mount --move /dev dev
exec /bin/busybox switch_root /m/root /lib/systemd/systemd
"""


def main_script(script: str) -> str:
    """Return the text that the guest's unit runs: `script`, a shell's."""
    return f">/vmtest/started\n{script}\n"
