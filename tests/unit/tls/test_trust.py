"""Whom to trust, if it is not said."""

from pathlib import Path

import pytest

from egressmon.errors import UsageError
from egressmon.tls.trust import Trust, trust_of


def test_the_systems_store_is_where_its_python_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "gone"))

    assert trust_of(None) == Trust(str(tmp_path / "ca.pem"), None)


def test_without_a_store_it_is_said_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "gone.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "gone"))

    with pytest.raises(UsageError) as raised:
        trust_of(None)

    assert "--ca-file" in raised.value.hint
