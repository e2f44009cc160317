"""Tests that boot other kernels: minutes each, so only where they are asked for."""

import os

import pytest

FORCED = "EGRESSMON_VM_TESTS"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason=f"boots a machine; {FORCED}=1 runs it")
    for item in items:
        if "vm" in item.path.parts and os.environ.get(FORCED) != "1":
            item.add_marker(skip)
