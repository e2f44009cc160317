"""The search list of resolv.conf(5): below which domains short names are looked up."""

from collections.abc import Iterator

from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class SearchList:
    """How a resolver library completes names."""

    domains: tuple[str, ...] = ()
    """In canonical form."""
    ndots: int = 1
    """A name with as many dots is looked up as it is, and below the domains only if
    there is no such name; any other below the domains first."""

    def shorter(self, name: str) -> Iterator[str]:
        """Yield what `name` may have been completed from."""
        for domain in self.domains:
            short = name.removesuffix(f".{domain}")
            if short != name:
                yield short

    def is_short(self, name: str) -> bool:
        """Tell whether `name` is looked up below the domains before it is as it is."""
        return name.count(".") < self.ndots


NO_SEARCH = SearchList()
