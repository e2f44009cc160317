"""What native.allow of a policy covers."""

from typing import Any

import pytest

from egressmon.inspection.allowing import allowing, unused
from egressmon.inspection.findings import Finding, Manager, Package
from egressmon.policy.language.native import NativeCode


def entry(**keys: Any) -> NativeCode:
    return NativeCode.model_validate({"reason": "known", **keys})


def finding(manager: Manager, name: str, version: str | None = "1.2.3") -> Finding:
    return Finding(Package(manager, name, version), "/venv/lib/a.so", ())


@pytest.mark.parametrize(
    ("keys", "found", "covered"),
    [
        ({"package": "grpcio"}, finding("python", "grpcio"), True),
        ({"package": "Psycopg_Binary"}, finding("python", "psycopg-binary"), True),
        ({"package": "grpc"}, finding("python", "grpcio"), False),
        ({"package": "python:Foo_Bar"}, finding("python", "foo-bar"), True),
        ({"package": "python:a"}, finding("debian", "a"), False),
        ({"package": "a"}, finding("debian", "a"), True),
        ({"package": "debian:a"}, finding("debian", "a"), True),
        ({"package": "libc6:amd64"}, finding("debian", "libc6:amd64"), True),
        ({"package": "npm:esbuild"}, finding("npm", "esbuild"), True),
        ({"package": "npm:@a/b"}, finding("npm", "@a/b"), True),
        ({"package": "npm:Es_build"}, finding("npm", "es-build"), False),
        ({"package": "grpcio"}, finding("npm", "grpcio"), False),
        ({"package": "python:grpcio"}, finding("npm", "grpcio"), False),
        ({"package": "npm:grpcio"}, finding("python", "grpcio"), False),
        ({"package": "*"}, finding("python", "grpcio"), False),
        ({"package": "a", "version": ("1.2.*",)}, finding("python", "a"), True),
        ({"package": "a", "version": ("1.2",)}, finding("python", "a"), False),
        ({"package": "a", "version": ("1",)}, finding("python", "a", None), False),
        ({"file": "*/a.so"}, finding("none", "", None), True),
        ({"file": "*/a.so"}, finding("python", "grpcio"), False),
        ({"package": "a"}, finding("none", "a", None), False),
    ],
)
def test_an_entry_covers_a_package_or_a_file_that_is_in_none(
    keys: dict[str, Any], found: Finding, *, covered: bool
) -> None:
    entries = [entry(**keys)]

    assert (allowing(entries, found) == "known") == covered
    assert bool(unused(entries, [found])) != covered
