"""Tell which files are the segments of one run."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from egressmon.errors import EvidenceError
from egressmon.evidence.gate import MAX_RECORD
from egressmon.evidence.manifest import (
    MANIFEST,
    MAX_BYTES,
    Manifest,
    manifest_name,
    named,
    parse,
)
from egressmon.files.bounded import open_regular
from egressmon.verifying.findings import Findings
from egressmon.verifying.sequence.parts import Files, First, first_of


def together(paths: Sequence[str]) -> list[tuple[str, ...]]:
    """Return `paths` in their order, but the segments of each run together."""
    found: dict[tuple[str, str], list[str]] = {}
    segmented: set[tuple[str, str]] = set()
    for path in paths:
        first = _first(path)
        run = _run(path, first)
        key = ("run", run) if run is not None else ("path", path)
        found.setdefault(key, []).append(path)
        if first is not None and first.number not in {None, 1}:
            segmented.add(key)
    groups: list[tuple[str, ...]] = []
    for key, members in found.items():
        if key in segmented:
            groups.append(tuple(members))
        else:
            groups += [(one,) for one in members]
    return groups


def named_files(paths: tuple[str, ...], findings: Findings) -> Files:
    """Return the segments `paths`, with the manifest that is beside the first."""
    run = _run(paths[0], _first(paths[0]))
    beside = None
    if run is not None:
        path = str(Path(paths[0]).with_name(manifest_name(run)))
        if os.path.lexists(path):
            beside = path
    return Files(paths, beside, _manifest(beside, findings))


def files_in(
    folder: str, names: Iterable[str], evidence: Iterable[str], findings: Findings
) -> list[Files]:
    """Return the segmented runs among the files `names` below `folder`.

    `evidence` are those of them that begin as evidence does.
    """
    names = [*names]
    stems = {one.removesuffix(MANIFEST) for one in names if one.endswith(MANIFEST)}
    segments: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        if (found := named(name)) is not None:
            segments[found[0]].append((found[1], name))
    for name in evidence:
        found = named(name)
        first = _first(str(Path(folder, name)))
        if found is not None and first is not None and first.number not in {None, 1}:
            stems.add(found[0])
    return [
        _files(folder, stem, segments[stem], names, findings) for stem in sorted(stems)
    ]


def _files(
    folder: str,
    stem: str,
    segments: list[tuple[int, str]],
    names: list[str],
    findings: Findings,
) -> Files:
    name = f"{stem}{MANIFEST}"
    path = str(Path(folder, name))
    if name not in names:
        findings.add("segment", "missing: the manifest is not there", path=path)
        manifest = None
    else:
        manifest = _manifest(path, findings)
        run = Path(stem).name
        if manifest is not None and manifest.run != run:
            what = f"foreign: it is of another run, {manifest.run}"
            findings.add("segment", what, path=path)
            manifest = None
    paths = tuple(str(Path(folder, one)) for _, one in sorted(segments))
    is_there = path if name in names else None
    return Files(paths, is_there, manifest, is_all=True)


def _manifest(path: str | None, findings: Findings) -> Manifest | None:
    if path is None:
        return None
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return parse(file.read(MAX_BYTES + 1))
    except EvidenceError as error:
        findings.add("manifest", str(error), path=path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        findings.add("manifest", f"it cannot be read: {reason}", path=path)
    return None


# Of which run the file is: by its first line, or, where that is damaged, its name.
def _run(path: str, first: First | None) -> str | None:
    if first is not None:
        return first.run
    found = named(Path(path).name)
    return found[0] if found is not None else None


def _first(path: str) -> First | None:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return first_of(file.readline(MAX_RECORD + 2).removesuffix(b"\n"))
    except (OSError, ValueError):
        return None
