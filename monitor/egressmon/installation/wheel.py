"""Make a wheel from the installed files of the running egressmon."""

import base64
import hashlib
import json
import stat
import zipfile
from email.parser import Parser
from importlib.metadata import Distribution, PackagePath, distribution
from pathlib import Path

from egressmon.errors import UsageError

# Files that an installer writes: they are no part of a wheel.
_INSTALLER_FILES = frozenset(("INSTALLER", "REQUESTED", "RECORD", "direct_url.json"))
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same files give the same wheel


def repack(folder: Path) -> Path:
    """Write a wheel of the running egressmon into `folder` and return its path.

    Raises `UsageError` for an editable installation: its files are a checkout's.
    """
    found = distribution("egressmon")
    if _is_editable(found):
        raise UsageError(
            "this egressmon runs from a checkout",
            "./scripts/egressmon install, in the checkout; or give a wheel",
        )
    stem = f"egressmon-{found.version}"
    path = folder / f"{stem}-{_tag(found)}.whl"
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, file in sorted(_contents(found, stem)):
            data = Path(str(found.locate_file(file))).read_bytes()
            record.append(_recorded(name, data))
            _add(archive, name, data)
        listed = f"{stem}.dist-info/RECORD"
        lines = [*record, f"{listed},,", ""]
        _add(archive, listed, "\n".join(lines).encode())
    return path


def _is_editable(found: Distribution) -> bool:
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    return bool(origin.get("dir_info", {}).get("editable"))


# A wheel for several machines has a line for each; its name joins them
# (packaging.python.org, "Platform compatibility tags", "Compressed tag sets").
def _tag(found: Distribution) -> str:
    parsed = Parser().parsestr(found.read_text("WHEEL") or "")
    tags = [str(tag).split("-") for tag in parsed.get_all("Tag", [])]
    if not tags or any(len(tag) != 3 for tag in tags):
        return "py3-none-any"
    return "-".join(".".join(dict.fromkeys(part)) for part in zip(*tags, strict=True))


def _contents(found: Distribution, stem: str) -> list[tuple[str, PackagePath]]:
    contents: list[tuple[str, PackagePath]] = []
    for file in found.files or []:
        if "__pycache__" in file.parts or file.name in _INSTALLER_FILES:
            continue
        if ".." not in file.parts:
            contents.append((file.as_posix(), file))
        elif file.parent.name == "bin":
            contents.append((f"{stem}.data/scripts/{file.name}", file))
    return contents


# A line of RECORD; Wheel-Version 1.0 wants urlsafe base64 without padding.
def _recorded(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"{name},sha256={digest.decode()},{len(data)}"


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    mode = 0o755 if ".data/scripts/" in name else 0o644
    entry.external_attr = (stat.S_IFREG | mode) << 16
    archive.writestr(entry, data)
