"""A package for pip and uv and one for npm, made on the spot, and their indexes."""

import base64
import hashlib
import io
import json
import tarfile
import zipfile

NAME, VERSION = "surface-example", "1.0.0"
WHEEL = f"surface_example-{VERSION}-py3-none-any.whl"
TARBALL = f"{NAME}-{VERSION}.tgz"
METADATA = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n"
"""What the wheel says of itself, which an index has beside it (PEP 658)."""
_WHEN = 1_500_000_000  # seconds since 1970


def wheel() -> bytes:
    """Return a wheel with one module."""
    info = f"surface_example-{VERSION}.dist-info"
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {
        "surface_example.py": "value = 1\n",
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": tags,
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


def simple_page(package: bytes) -> bytes:
    """Return the page of an index that lists `package` as the wheel."""
    digest = hashlib.sha256(package).hexdigest()
    address = f"https://files.pythonhosted.org/packages/{WHEEL}#sha256={digest}"
    beside = hashlib.sha256(METADATA.encode()).hexdigest()
    link = f'<a href="{address}" data-core-metadata="sha256={beside}">{WHEEL}</a>'
    return f"<!DOCTYPE html><html><body>{link}".encode()


def tarball() -> bytes:
    """Return an npm package with one module."""
    described = json.dumps({"name": NAME, "version": VERSION, "main": "index.js"})
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        files = {"package.json": described, "index.js": "module.exports = 1\n"}
        for name, text in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size, member.mtime = len(text), _WHEN
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


def packument(package: bytes) -> bytes:
    """Return what a registry says of `package`, the tarball."""
    digest = base64.b64encode(hashlib.sha512(package).digest()).decode()
    dist = {
        "tarball": f"https://registry.npmjs.org/{NAME}/-/{TARBALL}",
        "integrity": f"sha512-{digest}",
    }
    version = {"name": NAME, "version": VERSION, "main": "index.js", "dist": dist}
    said = {"name": NAME, "dist-tags": {"latest": VERSION}}
    return json.dumps({**said, "versions": {VERSION: version}}).encode()
