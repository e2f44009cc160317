"""The three source roots make one namespace package, in one direction."""

import ast
from pathlib import Path

import pytest

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
            assert name.startswith(f"egressmon.{package}"), f"{path}: {name}"


def test_only_one_module_calls_libbpf() -> None:
    callers = {
        path.name
        for path in (ROOT / "monitor").rglob("*.py")
        if any(name == "egressmon.probes.libbpf" for name in imports(path))
        or 'CDLL("libbpf' in path.read_text()
    }

    assert callers <= {"doctor.py"}  # asks for the version alone
