"""Evidence to verify and to tamper with."""

from pathlib import Path

import pytest

from egressmon import files
from support.recorded import proof as make_proof
from support.replaying import ProcessesGone


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a proof-like directory, which nobody may change."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_opener", ProcessesGone())
        return make_proof(tmp_path_factory.mktemp("original") / "proof")


@pytest.fixture
def evidence(original: Path, tmp_path: Path) -> Path:
    """Return a copy of one run's evidence, beside its policy, without a lock."""
    for name in ("policy.toml", "run-01/evidence.jsonl"):
        source = original / name
        (tmp_path / source.name).write_bytes(source.read_bytes())
    return tmp_path / "evidence.jsonl"
