"""The guides' commands do what the pages show, as they stand there."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.filtered import NFT
from support.lab import Lab
from support.watching import EGRESSMON

GUIDES = Path(__file__).parents[2] / "docs/guides"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: str) -> Iterator[tuple[str, str]]:
    """Yield each file (as `toml`) and each command with what it is to say."""
    for kind, text in _BLOCK.findall(page):
        if kind != "console":
            yield kind, text
            continue
        for command in re.split(r"^(?=[$#] )", text, flags=re.MULTILINE):
            if command:
                yield "console", command[2:]


def pattern(expected: str) -> str:
    """Return a regular expression for `expected`, in which `…` stands for anything."""
    return ".*".join(map(re.escape, expected.split("…")))


@pytest.mark.parametrize("name", ["add-a-vendor.md"])
def test_a_guides_commands_say_what_the_page_shows(
    name: str, network: Lab, tmp_path: Path
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    launcher = programs / "egressmon"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(EGRESSMON)} "$@"\n')
    launcher.chmod(0o755)
    folder = tmp_path / "project"
    folder.mkdir()
    ran = 0
    try:
        for kind, text in steps((GUIDES / name).read_text()):
            if kind == "toml":
                (folder / "egress.toml").write_text(text)
                continue
            command, _, expected = text.partition("\n")
            script = f'PATH="{programs}:$PATH"; {command} 2>&1'
            done = subprocess.run(
                [*network.enter(), "sh", "-c", script],
                check=False,
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=120,
            )
            wanted = pattern(expected)
            assert re.fullmatch(wanted, done.stdout, re.DOTALL), (command, done.stdout)
            ran += 1
    finally:
        words = [NFT, "delete", "table", "inet", "egressmon"]
        subprocess.run([*network.enter(), *words], check=False, capture_output=True)

    assert ran > 5
