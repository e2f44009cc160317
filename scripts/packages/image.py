"""Write a container image of one layer, for engines and whatever reads OCI layouts.

image.py ROOT.tar FOLDER VERSION ARCHITECTURE

Prints the archive's path. OCI's image layout, in a tar file, with the manifest of
`docker save` beside it, which engines want that know no layouts (Docker before 25):
github.com/opencontainers/image-spec (image-layout.md, config.md), moby's image/spec.
"""

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

_OCI = "application/vnd.oci.image"
# What two builds are to have in common.
_TIME = "1970-01-01T00:00:00Z"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LEVEL = 6


def config_of(version: str, architecture: str, layer: bytes) -> dict[str, Any]:
    """Return the image's configuration; `layer` is its only layer, not compressed."""
    return {
        "architecture": architecture,
        "os": "linux",
        "created": _TIME,
        "config": {
            "Entrypoint": ["/usr/bin/egressmon"],
            "Cmd": ["--help"],
            "Env": [f"PATH={_PATH}", "LANG=C.UTF-8"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "egressmon",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "MIT AND (GPL-2.0-only OR MIT)",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(layer)}"]},
        "history": [{"created": _TIME, "created_by": "scripts/build-image"}],
    }


def files_of(version: str, architecture: str, layer: bytes) -> dict[str, bytes]:
    """Return the archive's files, by name."""
    packed = gzip.compress(layer, _LEVEL, mtime=0)
    config = _json(config_of(version, architecture, layer))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _described("config.v1+json", config),
            "layers": [_described("layer.v1.tar+gzip", packed)],
        }
    )
    name = f"egressmon:{version}"
    index = _described("manifest.v1+json", manifest)
    index["annotations"] = {
        "io.containerd.image.name": f"localhost/{name}",
        "org.opencontainers.image.ref.name": version,
    }
    blobs = {_blob(data): data for data in (config, packed, manifest)}
    saved = {
        "Config": _blob(config),
        "RepoTags": [name, "egressmon:latest"],
        "Layers": [_blob(packed)],
    }
    return {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [index]}),
        "manifest.json": _json([saved]),
        **blobs,
    }


def write(path: Path, files: dict[str, bytes]) -> None:
    """Write `files` into the tar file `path`: the same files give the same bytes."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))


def _described(kind: str, data: bytes) -> dict[str, Any]:
    digest = f"sha256:{_digest(data)}"
    return {"mediaType": f"{_OCI}.{kind}", "digest": digest, "size": len(data)}


def _blob(data: bytes) -> str:
    return f"blobs/sha256/{_digest(data)}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main(source: str, folder: str, version: str, architecture: str) -> None:
    """Write the image of the root folder in the tar file `source` into `folder`."""
    path = Path(folder, f"egressmon_{version}_{architecture}.image.tar")
    write(path, files_of(version, architecture, Path(source).read_bytes()))
    print(path)


if __name__ == "__main__":
    main(*sys.argv[1:5])
