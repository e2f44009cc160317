"""Secrets that nobody ever had, from the catalog's shapes; and what looks like them."""

import base64
import gzip
import random
import re
import string
import uuid
from collections.abc import Callable

from egressmon.sanitise.catalog.listed import KINDS

_LETTERS = string.ascii_letters + string.digits
_ALPHABETS = {
    "w": _LETTERS,
    "h": "0123456789abcdef",
    "A": string.ascii_uppercase + string.digits,
    "u": _LETTERS + "-_",
    "b": _LETTERS + "+/",
    "d": string.digits,
    "p": _LETTERS,
}
_PLACE = re.compile(r"\{([whAubdp])(\d+)\}")
SHAPES = [(kind.name, shape) for kind in KINDS for shape in kind.shape]


def filled(shape: str, random_: random.Random) -> str:
    """Return a secret of this `shape` (see `sanitise/catalog/`).

    Letters alone, and digits alone, would be no fair test of what looks random.
    """

    def characters(match: re.Match[str]) -> str:
        alphabet, size = _ALPHABETS[match[1]], int(match[2])
        made = "".join(random_.choices(alphabet, k=size))
        mixed = any(map(str.isdecimal, made)) and (
            match[1] in "hd" or any(map(str.isupper, made))
        )
        return made if mixed else characters(match)

    return _PLACE.sub(characters, shape)


def secrets(count: int, seed: int) -> list[tuple[str, str]]:
    """Return `count` secrets with the names of their kinds, all kinds in turn."""
    random_ = random.Random(seed)  # noqa: S311 -- to be the same each time
    return [
        (kind, filled(shape, random_))
        for kind, shape in (SHAPES * (count // len(SHAPES) + 1))[:count]
    ]


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "base64": base64.b64encode,
    "base64 in lines": base64.encodebytes,
    "base64 for URLs": base64.urlsafe_b64encode,
    "base64 twice": lambda data: base64.b64encode(base64.b64encode(data)),
    "percent": lambda data: "".join(f"%{byte:02X}" for byte in data).encode(),
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "gzip in base64": lambda data: base64.b64encode(gzip.compress(data, mtime=0)),
    "JSON escapes": lambda data: "".join(f"\\u{byte:04x}" for byte in data).encode(),
    "UTF-16": lambda data: data.decode("latin-1").encode("utf-16"),
}


def look_alikes(count: int, seed: int) -> list[str]:
    """Return `count` texts that look like secrets and are none, all kinds in turn."""
    random_ = random.Random(seed)  # noqa: S311 -- as above
    return [_LOOK_ALIKES[index % len(_LOOK_ALIKES)](random_) for index in range(count)]


def _base64(random_: random.Random, size: int) -> str:
    return base64.b64encode(random_.randbytes(size)).decode()


def _hex(random_: random.Random, size: int) -> str:
    return random_.randbytes(size).hex()


_LOOK_ALIKES: list[Callable[[random.Random], str]] = [
    lambda r: f'    "integrity": "sha512-{_base64(r, 64)}",',
    lambda r: f'resolved "https://registry.test/a/-/a-1.0.0.tgz#{_hex(r, 20)}"',
    lambda r: f"    --hash=sha256:{_hex(r, 32)} \\",
    lambda r: f'checksum = "{_hex(r, 32)}"',
    lambda r: f"golang.test/x/net v0.1.0/go.mod h1:{_base64(r, 32)}",
    lambda r: f"  checksum: 10c0/{_hex(r, 64)}",
    lambda r: f"commit {_hex(r, 20)}",
    lambda r: f'"id": "{uuid.UUID(bytes=r.randbytes(16))}"',
    lambda r: f"session-id: {uuid.UUID(bytes=r.randbytes(16))}",
    lambda r: f'src="data:image/png;base64,iVBORw0KGgo{_base64(r, 900)}"',
    lambda r: f"string: iVBORw0KGgoAAAANSUhEUgAA{_base64(r, 300)}",
    lambda r: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{_base64(r, 32)} bob@host",
    lambda r: f"SHA256:{_base64(r, 32)[:43]}",
    lambda r: (
        "-----BEGIN CERTIFICATE-----\n"
        + base64.encodebytes(r.randbytes(500)).decode()
        + "-----END CERTIFICATE-----"
    ),
    lambda r: f'etag: W/"{_hex(r, 20)}"',
    lambda r: f"traceparent: 00-{_hex(r, 16)}-{_hex(r, 8)}-01",
    lambda r: f'"prev": "blake3:{_hex(r, 32)}"',
    lambda r: f"FROM debian@sha256:{_hex(r, 32)}",
    lambda r: f'"usage": {{"input_tokens": {r.randrange(10**7)}, "total_tokens": 12}}',
    lambda r: f"/nix/store/{_hex(r, 16)}-python3.11-certifi-2024.2.2/lib/python3.11",
    lambda r: f"testThatConnectionsToPort{r.randrange(99)}AreRefusedWithoutAPolicyFile",
    lambda r: (
        f"_RNvXs{r.randrange(99)}_NtNtCs8uuN1nrGffB_4core3cmp5implsyNtB8_10Partial"
    ),
    lambda _: "Authorization: REDACTED",
    lambda _: "      X-Api-Key:\n      - '***'",
    lambda _: "password: ${DB_PASSWORD}",
    lambda _: "def login(user: str, password: str | None = None) -> Token:",
    lambda _: "curl -u $USER:$PASSWORD https://api.test/",
    lambda r: (
        f"/usr/lib/python3.11/site-packages/Foo_Bar-{r.randrange(9)}.2.dist-info/R"
    ),
    lambda r: f"2026-11-27T18:15:24.{r.randrange(10**9):09d}Z",
    lambda r: f"sk-folding-cube-{r.randrange(99)} task-queue-for-all-of-them",
]
