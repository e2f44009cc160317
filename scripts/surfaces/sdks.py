"""Which SDKs are looked at, and how each is run."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environments import HERE, node_modules, python_with

KEYS = {"ANTHROPIC_API_KEY": "no-key", "OPENAI_API_KEY": "no-key"}


@dataclass(frozen=True)
class Ready:
    """An SDK that can be run."""

    words: tuple[str, ...]
    """The program; the file for the marks follows."""
    version: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Sdk:
    """An SDK in a version that a lock file pins."""

    name: str
    registry: str
    """`PyPI` or `npm`."""
    vendor: str
    """The name that it is meant to reach."""
    prepare: Callable[[], Ready]


def _python(name: str, package: str, locked: str) -> Callable[[], Ready]:
    def prepare() -> Ready:
        lines = (HERE / f"requirements/{locked}.txt").read_text(encoding="utf-8")
        pinned = re.search(rf"^{re.escape(package)}==(\S+)", lines, re.MULTILINE)
        if pinned is None:
            raise ValueError(f"{locked}.txt does not pin {package}")
        client = str(HERE / "clients/client.py")
        words = (str(python_with(locked)), "-I", client, name)
        return Ready(words, pinned[1], dict(KEYS))

    return prepare


def _node(package: str) -> Callable[[], Ready]:
    def prepare() -> Ready:
        folder: Path = node_modules()
        about = folder / "node_modules" / package / "package.json"
        version: str = json.loads(about.read_text(encoding="utf-8"))["version"]
        words = ("node", str(HERE / "clients/client.mjs"), package)
        return Ready(words, version, {**KEYS, "SURFACES_MODULES": str(folder)})

    return prepare


_ANTHROPIC, _OPENAI = "api.anthropic.com", "api.openai.com"
SDKS = (
    Sdk("anthropic", "PyPI", _ANTHROPIC, _python("anthropic", "anthropic", "sdks")),
    Sdk("openai", "PyPI", _OPENAI, _python("openai", "openai", "sdks")),
    Sdk("openai", "PyPI", _OPENAI, _python("openai-0", "openai", "openai-0")),
    Sdk("@anthropic-ai/sdk", "npm", _ANTHROPIC, _node("@anthropic-ai/sdk")),
    Sdk("openai", "npm", _OPENAI, _node("openai")),
)
