"""The three source roots make one namespace package, in one direction."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("source_root", ["probes", "monitor", "policy"])
def test_no_root_claims_the_namespace(source_root: str) -> None:
    # An __init__.py here would hide the other two roots.
    assert not (ROOT / source_root / "egressmon" / "__init__.py").exists()


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name for name in found if name.startswith("egressmon")}


@pytest.mark.parametrize("package", ["probes", "policy"])
def test_probes_and_policy_import_nothing_of_the_agent(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imports(path):
            allowed = name.startswith(f"egressmon.{package}")
            # How values are made is nobody's own.
            assert allowed or name == "egressmon.values", f"{path}: {name}"


def test_only_one_module_calls_libbpf() -> None:
    callers = {
        path.name
        for path in (ROOT / "monitor").rglob("*.py")
        if any(name == "egressmon.probes.loaders.libbpf" for name in imports(path))
        or 'CDLL("libbpf' in path.read_text()
    }

    assert callers <= {"doctor.py"}  # only to ask for the version


PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS: dict[str, list[str]] = PROJECT["dependency-groups"]
NEEDS: list[str] = PROJECT["project"]["dependencies"]
LOCKS = {
    "monitor/egressmon/requirements.txt": NEEDS,
    "scripts/requirements/build.txt": GROUPS["build"],
    "scripts/requirements/dev.txt": [*NEEDS, *GROUPS["build"], *GROUPS["dev"]],
}


# Return the entries of a lock file: name to (version, hashes).
def locked(lock: str) -> dict[str, tuple[str, list[str]]]:
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / lock).read_text(), flags=re.MULTILINE)
    found: dict[str, tuple[str, list[str]]] = {}
    for entry in entries[1:]:
        name, version = entry.split()[0].split("==")
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)
        found[canonicalize_name(name)] = (version, hashes)
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_covers_what_is_asked_for(lock: str) -> None:
    found = locked(lock)

    for requirement in map(Requirement, LOCKS[lock]):
        version, _ = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), "run scripts/lock"
    assert all(hashes for _, hashes in found.values())


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text()

    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)


def test_tests_and_users_get_the_same_versions() -> None:
    dev = locked("scripts/requirements/dev.txt")

    for name, (version, _) in locked("monitor/egressmon/requirements.txt").items():
        assert dev[name][0] == version


def test_the_wheel_carries_its_lock_file() -> None:
    from egressmon.installation.install_root import LOCK  # noqa: PLC0415 -- only here

    assert (ROOT / "monitor" / LOCK).exists()
