"""What is attached: a link of each program, in the order in which they were."""

import os

from egressmon.probes.hooks import Hook
from egressmon.probes.kernel import bpf


class Links:
    """Owns the links; a program is detached when its link is closed everywhere."""

    def __init__(self) -> None:
        self.hooks: list[str] = []
        """The names of the programs, in that order."""
        self._links: list[int] = []
        self._kept: dict[str, int] = {}
        """Links that are there already, by their program's name."""

    def __len__(self) -> int:
        return len(self._links)

    def by_name(self) -> dict[str, int]:
        """Return the links of what is attached, by their program's name."""
        return dict(zip(self.hooks, self._links, strict=True))

    def take_up(self, kept: dict[str, int]) -> None:
        """Use the links `kept` in the place of those that attach() would make."""
        self._kept = dict(kept)

    def drop_kept(self) -> None:
        """Close those of take_up() that no attach() asked for."""
        while self._kept:
            os.close(self._kept.popitem()[1])

    def attach(self, hook: Hook, program: int, cgroup: int) -> None:
        """Attach `program` as `hook` says: to the open `cgroup`, or to a tracepoint.

        Raises OSError.
        """
        if hook.program in self._kept:
            link = self._kept.pop(hook.program)
        elif hook.tracepoint is not None:
            link = bpf.attach_to_tracepoint(program, hook.tracepoint)
        elif hook.attach_type is not None:
            link = bpf.attach_to_cgroup(program, cgroup, hook.attach_type)
        else:
            raise ValueError(hook)
        self._links.append(link)
        self.hooks.append(hook.program)

    def cut_back(self, length: int) -> None:
        """Detach all but the first `length` again."""
        for link in self._links[length:]:
            os.close(link)
        del self._links[length:], self.hooks[length:]

    def attached(self) -> tuple[int, int]:
        """Return how many still are attached, and how many should be.

        Raises OSError. Asked of the process that attached them.
        """
        return sum(map(bpf.is_attached, self._links)), len(self._links)

    def let_go(self) -> list[int]:
        """Return the descriptors of all links, which are then the caller's to close."""
        links = [*self._links]
        self._links.clear()
        return links

    def close(self) -> None:
        """Close all links, the last one first, and those of take_up() before."""
        self.drop_kept()
        while self._links:
            os.close(self._links.pop())
