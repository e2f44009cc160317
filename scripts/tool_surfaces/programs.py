"""The tools whose surfaces are examples, and how each is run."""

from dataclasses import dataclass, field
from pathlib import Path

from packages import NAME

HOME = Path("/srv/home")
PROJECT = HOME / "project"
"""An empty folder."""
APP = Path("/srv/app")
"""An application of Next.js."""
_TOOLS = "/opt/tools/bin"
_NEXT = ("node", "node_modules/next/dist/bin/next")


@dataclass(frozen=True)
class Program:
    """A tool, and what it is run for."""

    words: tuple[str, ...]
    version: tuple[str, ...]
    """What prints its version."""
    what: str
    """What it does in the run."""
    variables: dict[str, str] = field(default_factory=dict[str, str])
    """What is set for it besides HOME and PATH; `{ca}` is the authority's file."""
    where: Path = PROJECT
    """The working directory."""
    first: tuple[str, tuple[str, ...]] | None = None
    """A file that must be there, and what makes it, unwatched."""
    asked: str | None = None
    """What another process asks for its page, until it answers once."""


_NODE = {"NODE_EXTRA_CA_CERTS": "{ca}"}
PROGRAMS: dict[str, Program] = {
    "chromium": Program(
        ("timeout", "240", "chromium", "--headless", "http://www.example.com/"),
        ("chromium", "--version"),
        "one page, and then left alone for four minutes, with a new profile",
    ),
    "chromium-quiet": Program(
        (
            "timeout", "240", "chromium", "--headless",
            "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "http://www.example.com/",
        ),
        ("chromium", "--version"),
        "the same, with the three flags that the inventory above names",
    ),
    "next-build": Program(
        (*_NEXT, "build"),
        (*_NEXT, "--version"),
        "the application of [plans/nextjs](examples/plans/nextjs), telemetry as it is",
        _NODE,
        APP,
    ),
    "next-start": Program(
        ("timeout", "45", *_NEXT, "start", "--port", "8910"),
        (*_NEXT, "--version"),
        "the same application: one page asked for, 45 seconds",
        _NODE,
        APP,
        (".next/BUILD_ID", (*_NEXT, "build")),
        "127.0.0.1:8910",
    ),
    "npm": Program(
        ("npm", "install", NAME),
        ("npm", "--version"),
        "one package without dependencies",
        _NODE,
    ),
    "pip": Program(
        (f"{_TOOLS}/pip", "install", "--target", f"{HOME}/pip", NAME),
        (f"{_TOOLS}/pip", "--version"),
        "one wheel without dependencies",
        {"PIP_CERT": "{ca}"},
    ),
    "uv": Program(
        (f"{_TOOLS}/uv", "pip", "install", "--target", f"{HOME}/uv", NAME),
        (f"{_TOOLS}/uv", "--version"),
        "the same wheel",
        {"SSL_CERT_FILE": "{ca}"},
    ),
}  # fmt: skip
