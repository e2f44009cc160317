"""Who made a connection or a look-up, by the records that theirs refer to."""

from collections import OrderedDict
from typing import Any, Generic, TypeVar

from egressmon.drift.labels import NO_FILE, base_name, package_of, table, text_of
from egressmon.drift.model import UNKNOWN, Who
from egressmon.reading.lines import LineError
from egressmon.values import dataclass

Json = dict[str, Any]
_Value = TypeVar("_Value")
_MAX_KNOWN = 65_536
"""As many as the writer remembers at most: what it forgot, it writes again."""
_NO_PACKAGE = "none"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a call, for people, and all that is known of its code."""

    who: Who
    modules: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]
    """With their versions: those of its native modules, then of its Python code."""
    no_package: str
    """What stands for packages where there is none: whether that is known."""


class Callers:
    """Who made the calls of one run."""

    def __init__(self) -> None:
        self._programs: _Remembered[str] = _Remembered()
        self._modules: _Remembered[_Module] = _Remembered()

    @property
    def missing(self) -> int:
        """How many references had nothing to refer to."""
        return self._programs.missing + self._modules.missing

    def refer(self, record: Json) -> None:
        """Note what others refer to: an `actor` or a `module` record."""
        digest = record["digest"]
        if not isinstance(digest, str):
            raise LineError("has no digest to refer to")
        if record["type"] == "actor":
            self._programs.put(digest, base_name(record["exe"]))
        else:
            self._modules.put(digest, _module(record))

    def of(self, record: Json) -> Caller:
        """Return who made the connection or look-up in `record`."""
        process, code = table(record["process"]), table(record["code"])
        program = self._programs.get(process) if process else None
        holder = table(record["module"])
        module = self._modules.get(holder) if holder else None
        packages = module.packages if module is not None else ()
        own = package_of(code)
        if own is not None and own not in packages:
            packages = (*packages, own)
        main = own or (packages[-1] if packages else None)
        return Caller(
            Who(
                program or base_name(process.get("comm")),
                " ".join(main) if main is not None else "",
                module.files[-1] if module is not None else "",
                text_of(code.get("test") or ""),
            ),
            module.files if module is not None else (UNKNOWN,),
            packages,
            _NO_PACKAGE if module is not None else UNKNOWN,
        )


@dataclass(frozen=True, slots=True)
class _Module:
    files: tuple[str, ...]
    packages: tuple[tuple[str, str], ...]


def _module(record: Json) -> _Module:
    files = [table(record["caller"])]
    if record.get("binding") is not None:
        files.append(table(record["binding"]))
    found = (base_name(one.get("path")) or NO_FILE for one in files)
    packages = (package_of(one) for one in files)
    return _Module(
        tuple(dict.fromkeys(found)),
        tuple(dict.fromkeys(one for one in packages if one is not None)),
    )


# The latest used, by digest.
class _Remembered(Generic[_Value]):
    def __init__(self) -> None:
        self._known: OrderedDict[str, _Value] = OrderedDict()
        self.missing = 0

    def put(self, digest: str, value: _Value) -> None:
        self._known[digest] = value
        self._known.move_to_end(digest)
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)

    def get(self, holder: Json) -> _Value | None:
        digest = str(holder.get("digest"))
        if (found := self._known.get(digest)) is None:
            self.missing += 1
        else:
            self._known.move_to_end(digest)
        return found
