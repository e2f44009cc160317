"""The image's archive: what engines and readers of OCI layouts look for in it."""

import gzip
import hashlib
import json
import tarfile
from pathlib import Path

import image

LAYER = b"a layer, not compressed"
FILES = image.files_of("1.2", "arm64", LAYER)


def test_each_blob_has_its_digest_for_a_name() -> None:
    blobs = {name: data for name, data in FILES.items() if name.startswith("blobs/")}

    assert len(blobs) == 3
    for name, data in blobs.items():
        assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def test_the_layout_leads_to_the_layer() -> None:
    (listed,) = json.loads(FILES["index.json"])["manifests"]
    manifest = json.loads(FILES[f"blobs/{listed['digest'].replace(':', '/')}"])
    (layer,) = manifest["layers"]
    packed = FILES[f"blobs/{layer['digest'].replace(':', '/')}"]

    assert layer["size"] == len(packed)
    assert gzip.decompress(packed) == LAYER


def test_what_docker_saves_says_the_same() -> None:
    (saved,) = json.loads(FILES["manifest.json"])
    config = json.loads(FILES[saved["Config"]])

    assert saved["RepoTags"] == ["egressmon:1.2", "egressmon:latest"]
    assert gzip.decompress(FILES[saved["Layers"][0]]) == LAYER
    assert config["architecture"] == "arm64"
    assert config["config"]["Entrypoint"] == ["/usr/bin/egressmon"]
    digest = hashlib.sha256(LAYER).hexdigest()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{digest}"]


def test_nothing_in_the_archive_says_when_it_was_made(tmp_path: Path) -> None:
    image.write(tmp_path / "image.tar", FILES)

    with tarfile.open(tmp_path / "image.tar") as archive:
        assert {(one.mtime, one.uid, one.mode) for one in archive} == {(0, 0, 0o644)}
        assert sorted(archive.getnames()) == sorted(FILES)
