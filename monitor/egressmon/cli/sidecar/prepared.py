"""What a sidecar makes and finds before its probes are attached."""

from typing import NamedTuple

from egressmon.attribution.descent import JobRoot
from egressmon.cli.requests import SidecarRequest
from egressmon.cli.sidecar.kept import Left, engine_of
from egressmon.cli.sidecar.scope import job_of, lineage_of
from egressmon.errors import EvidenceError
from egressmon.evidence.segment_folder import PlainFolder
from egressmon.evidence.segments import Segments
from egressmon.evidence.unended import Before, find_before
from egressmon.keeping.kept import Keeping
from egressmon.keeping.segments import RunFolder
from egressmon.privileges.privilege import User
from egressmon.probes.engine import Engine
from egressmon.sensor.lineage_scope import Lineage
from egressmon.sidecar.folder import make_folder


class Prepared(NamedTuple):
    """The folder and files of a run, and what it goes on from."""

    folder: PlainFolder
    run_folder: RunFolder
    segments: Segments
    before: Before | None
    """The run before, in that folder; None: there is none."""
    lineage: Lineage | None
    job: JobRoot | None
    kept: Keeping | None
    """Keeps the probes for the next run; None: nobody does."""


def prepare(
    request: SidecarRequest, user: User, left: Left, identifier: str
) -> tuple[Prepared, Engine]:
    """Return what the run `identifier` needs, and its engine, of what was `left`.

    Evidence is made for the group of `user`. Raises an `EgressmonError`.
    """
    folder = make_folder(request.evidence, user.gid)
    job = job_of(request)
    lineage = lineage_of(request, job)
    is_by_lineage = lineage is not None
    engine, kept = engine_of(left, request, identifier, by_lineage=is_by_lineage)
    before = _run_before(folder, engine.kept.run if engine.kept else None)
    run_folder = RunFolder(folder, identifier)
    segments = _segments(folder, run_folder, identifier, request)
    return Prepared(folder, run_folder, segments, before, lineage, job, kept), engine


def _segments(
    folder: PlainFolder, run_folder: RunFolder, identifier: str, request: SidecarRequest
) -> Segments:
    reserve = folder.open_reserve()
    try:
        return Segments(
            folder,
            identifier,
            reserve=reserve,
            max_bytes=request.segment_size,
            max_age_s=request.segment_age,
        )
    except OSError as error:
        run_folder.forget_run()
        raise EvidenceError(
            f"evidence cannot be written to {folder.path}: {error.strerror}",
            "name a folder on a disk with room, with --evidence",
        ) from error


# Before this run has files there. It is opened only: who reads it has no rights.
def _run_before(folder: PlainFolder, wanted: str | None) -> Before | None:
    try:
        return find_before(folder, wanted)
    except OSError as error:
        raise EvidenceError(
            f"the evidence's folder {folder.path} cannot be read: {error.strerror}",
            "name another with --evidence",
        ) from error
