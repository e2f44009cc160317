"""What runs reached, without when and by which process: the surface of a program."""

from typing import NamedTuple

from egressmon.values import dataclass, field

ASPECTS = ("verdicts", "packages", "modules", "programs", "routes", "bypass", "guard")
"""What is said of a destination or a look-up beside where it leads, in this order."""
FACTS = (
    "attribution", "policies", "bytes_sent", "resolvers", "listeners", "escapes",
    "blind_spots",
)  # fmt: skip
"""What is said of the runs as a whole, in this order."""
UNKNOWN = "unknown"
MAX_ITEMS = 20_000
"""How many destinations and look-ups a surface may have."""
MAX_VALUES = 300_000
"""How many values all of it may have."""
MAX_BYTES = 16 << 20
"""How large a baseline may be."""


class Key(NamedTuple):
    """What tells one destination, or look-up, from others."""

    kind: str
    """destination or lookup."""
    name: str
    """The host name; "" where there is none."""
    network: str
    """Of what has no name: the network of its address, such as 198.51.100.0/24."""
    port: int
    """-1: the protocol has none."""
    protocol: str

    @property
    def label(self) -> str:
        """Return it for people, such as `api.example.org:443/tcp`."""
        host = self.name or self.network
        if self.kind == "lookup":
            return host
        host = f"[{host}]" if ":" in host else host
        port = f":{self.port}" if self.port >= 0 else ""
        return f"{host}{port}/{self.protocol}"


class Who(NamedTuple):
    """Who did something, for people; "" is unknown or not there."""

    program: str
    package: str
    """With its version, such as `python:requests 2.32.0`."""
    module: str
    test: str


NOBODY = Who("", "", "", "")


class Run(NamedTuple):
    """A run that the surface is of."""

    name: str
    began: str
    """As its evidence has it: RFC 3339, UTC."""


@dataclass(slots=True)
class Seen:
    """In which runs something was seen, by their places in `Surface.runs`."""

    first: int
    last: int
    who: Who = NOBODY
    """Who did it first."""

    def also(self, run: int) -> None:
        """Note that it was seen in `run`, too."""
        if run < self.first:
            self.first = run
        elif run > self.last:
            self.last = run


Values = dict[str, Seen]


@dataclass(slots=True)
class Item:
    """A destination or a look-up, with all that is known of it by aspect."""

    seen: Seen
    aspects: dict[str, Values] = field(default_factory=dict[str, Values])
    address: str = ""
    """The first address of its network that was reached."""


@dataclass(slots=True)
class Surface:
    """What one or many runs reached."""

    runs: list[Run] = field(default_factory=list[Run])
    """In the order in which they began."""
    items: dict[Key, Item] = field(default_factory=dict[Key, Item])
    versions: dict[str, Values] = field(default_factory=dict[str, Values])
    """The versions of each package that connects, such as `python:requests`."""
    facts: dict[str, Values] = field(default_factory=dict[str, Values])
    """By the names in `FACTS`."""
    intruded: Values = field(default_factory=dict[str, Seen])
    """Listeners to which somebody connected in violation of the policy."""
    problems: list[str] = field(default_factory=list[str])
    """Why it is not all: what is compared with it may be wrong."""
    notes: list[str] = field(default_factory=list[str])
    """What may be wrong with a part of it."""

    def since(self, seen: Seen) -> Run | None:
        """Return in which run it was seen first, if there are several."""
        return self.runs[seen.first] if len(self.runs) > 1 else None

    def plain(self) -> "Content":
        """Return it without who and when."""
        return Content(
            items={
                key: {
                    name: tuple(sorted(found)) for name, found in item.aspects.items()
                }
                for key, item in self.items.items()
            },
            versions={name: tuple(sorted(one)) for name, one in self.versions.items()},
            facts={name: tuple(sorted(one)) for name, one in self.facts.items() if one},
        )


Texts = tuple[str, ...]
TlsValue = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What a baseline holds, but for its reviews."""

    items: dict[Key, dict[str, Texts]] = field(
        default_factory=dict[Key, dict[str, Texts]]
    )
    versions: dict[str, Texts] = field(default_factory=dict[str, Texts])
    facts: dict[str, Texts] = field(default_factory=dict[str, Texts])
    tls: dict[str, dict[str, TlsValue]] = field(
        default_factory=dict[str, dict[str, TlsValue]]
    )
    """What `egressmon tls` found, by `host:port`."""


class Review(NamedTuple):
    """Somebody looked at a baseline, and took it."""

    by: str
    reason: str
    date: str
    """Such as 2026-11-28, UTC."""
    digest: str
    """Of the content that was reviewed."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline, with the history of its reviews, the oldest first."""

    content: Content
    digest: str
    """Of the content, as the file says; other than the content's own: it was edited."""
    reviews: tuple[Review, ...] = ()
