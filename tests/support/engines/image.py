"""A small root folder that containers are made from: no registry is asked."""

import subprocess
from pathlib import Path

# What a shell script in a container needs; busybox is all of them.
_APPLETS = ("sh", "cat", "echo", "nslookup", "nc", "sleep", "true", "wget")


def image(shared: Path, connect: str) -> Path:
    """Make the folder `image`, and of it `image.tar`, in `shared`; return the folder.

    `connect` is the static program that becomes /connect (clients/connect.c).
    """
    folder = shared / "image"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "run", "var"):
        (folder / name).mkdir(parents=True)
    (folder / "bin/busybox").write_bytes(Path("/bin/busybox").read_bytes())
    (folder / "connect").write_bytes(Path(connect).read_bytes())
    for program in ("bin/busybox", "connect"):
        (folder / program).chmod(0o755)
    for name in _APPLETS:
        (folder / "bin" / name).symlink_to("busybox")
    (folder / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    words = ["tar", "-C", str(folder), "--owner=0", "--group=0", "-cf"]
    subprocess.run([*words, str(shared / "image.tar"), "."], check=True)
    return folder
