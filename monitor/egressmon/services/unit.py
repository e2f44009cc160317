"""The text of the systemd unit of the sidecar, and whether a text is one of ours.

The first line holds the digest of the rest. So a later version knows a unit that an
earlier one wrote and nobody changed since, whatever that version's text was.
"""

import hashlib
import re
from pathlib import Path

from egressmon.errors import UsageError

NAME = "egressmon-sidecar.service"
"""The unit's name, and that of its file."""
_TEMPLATE = Path(__file__).with_name(NAME)
_MARK = "# Written by egressmon install-service; sha256 of what follows: "
_HINT = "put what is to differ into a drop-in: systemctl edit " + NAME
# What systemd takes as it stands: no blank or quote, no specifier (%), no variable ($),
# no backslash (systemd.service(5), "Command lines").
_PLAIN = re.compile(r"/[A-Za-z0-9_./+@:=,~-]*", re.ASCII)

_PRIVATE = ("/tmp/", "/var/tmp/")  # noqa: S108 -- to be refused


def text_of(launcher: str, policy: str | None) -> str:
    """Return the unit that starts `launcher`, with `policy` if there is one.

    Both are absolute paths. Raises `UsageError` for a path that a unit cannot hold.
    """
    option = "" if policy is None else f"--policy {_plain(policy)} "
    rest = _TEMPLATE.read_text(encoding="ascii")
    rest = rest.replace("@LAUNCHER@", _plain(launcher)).replace("@POLICY@", option)
    rest = f"# For changes: {_HINT.rpartition(': ')[2]}\n{rest}"
    return f"{_MARK}{_digest(rest)}\n{rest}"


def is_ours(text: str) -> bool:
    """Tell whether `text` is a unit that some version wrote, and nobody changed."""
    first, _, rest = text.partition("\n")
    return first == f"{_MARK}{_digest(rest)}"


# PrivateTmp= gives the service folders of its own there.
def _plain(path: str) -> str:
    if path.startswith(_PRIVATE):
        raise UsageError(
            f"the service does not see {path}, as its /tmp and /var/tmp are its own",
            "use a folder that stays: /etc/egressmon for a policy; for egressmon, "
            "what `egressmon install` makes",
        )
    if not _PLAIN.fullmatch(path):
        raise UsageError(
            f"a unit cannot name the path {path!r}",
            "use an absolute path of ASCII letters, digits and _ . / + @ : = , ~ -",
        )
    return path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
