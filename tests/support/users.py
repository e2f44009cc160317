"""Be another user, on a machine where sudo asks no password."""

from pathlib import Path

NOBODY = 65534


def as_nobody(folder: Path, words: list[str], sudoers: str) -> list[str]:
    """Return the words that run `words` as an unprivileged user.

    The sudoers file is replaced in a mount namespace of the test's own.
    """
    (folder / "sudoers").write_text(sudoers)
    (folder / "sudoers").chmod(0o440)
    script = (
        f"mount --bind {folder}/sudoers /etc/sudoers && exec setpriv --reuid={NOBODY} "
        f'--regid={NOBODY} --groups=1,{NOBODY} -- "$@"'
    )
    unshare = ["unshare", "--mount", "--propagation", "private"]
    return [*unshare, "sh", "-c", script, "sh", *words]
