"""Native modules: stacks and mappings in; modules, packages and routes out.

Each stack goes one way: locate the process's address space, unwind the stack, read
what its calls mean, name their owners. The result waits for the flow of that call.
"""

import os

from egressmon.attribution.native.call_sites import (
    MAPPINGS_CHANGED,
    CallSiteMemory,
    CallSites,
)
from egressmon.attribution.native.chain import read_calls
from egressmon.attribution.native.claims import NO_VIEW, Claims
from egressmon.attribution.native.memory.address_spaces import AddressSpaces
from egressmon.attribution.native.memory.mappings import AddressSpace
from egressmon.attribution.native.owners import Owners
from egressmon.attribution.native.unwinding.images import Images
from egressmon.attribution.native.unwinding.unwind import Unwinder
from egressmon.attribution.native.unwinding.walk import Unwound
from egressmon.attribution.native.waiting import WaitingCalls
from egressmon.attribution.packages.lookup import Packages
from egressmon.attribution.result import Attribution, unknown
from egressmon.events.glance import FlowHead, KnownStack
from egressmon.events.model import Forked, Stack, Traffic
from egressmon.files.beginning import Beginning
from egressmon.probes.architecture import Architecture
from egressmon.probes.kernel.sideband import SideRecord
from egressmon.values import replace

_WITHOUT_STACK = {
    "kernel-thread": "a kernel thread made the call",
    "io-worker": "an io_uring worker made the call: no stack leads to who asked",
    "compat": "the process runs 32-bit code, whose stacks are not unwound",
    "unreadable": "the caller's registers could not be read",
}
_NOT_MAPPED = "what the process had mapped is not known"


class Modules:
    """Attributes calls to native modules by the stacks that the probes copied."""

    def __init__(
        self,
        memory: CallSiteMemory,
        packages: Packages,
        architecture: Architecture | None,
        beginning: Beginning | None = None,
    ) -> None:
        """`memory` is where the probes look up the call sites that they recognise.

        `architecture` is that of the machine on which stacks are copied; None if its
        stacks cannot be unwound. `beginning` is the moment before the run, by default
        now.
        """
        beginning = beginning or Beginning()
        self._images = Images(architecture, beginning)
        self._call_sites = CallSites(memory, architecture)
        self._spaces = AddressSpaces()
        self._unwinder = (
            Unwinder(architecture, self._images) if architecture is not None else None
        )
        self._owners = Owners(packages)
        self._claims = Claims(beginning, self._images)
        self._waiting = WaitingCalls()

    def on_stack(self, stack: Stack) -> None:
        """Attribute the call at which `stack` was copied, and keep the result."""
        self._spaces.advance_to(stack.ktime_ns)
        self._waiting.add(stack.tid, stack.ktime_ns, self._attribute(stack))

    def on_known_stack(self, stack: KnownStack) -> None:
        """Do as `on_stack`, for a stack that the probes recognised."""
        self._spaces.advance_to(stack.ktime_ns)
        self._waiting.add(stack.tid, stack.ktime_ns, self._recognise(stack))

    def _attribute(self, stack: Stack) -> Attribution:
        if stack.status in _WITHOUT_STACK:
            return unknown(_WITHOUT_STACK[stack.status])
        if stack.status == "known":
            return self._recognise(stack)
        if self._unwinder is None:
            return unknown("stacks of this architecture are not unwound")
        return self._follow(stack, self._unwinder)

    # The way of a stack, step by step.
    def _follow(self, stack: Stack, unwinder: Unwinder) -> Attribution:
        pid = stack.pid
        space = self._spaces.locate(pid)
        if space is None:
            return unknown(_NOT_MAPPED)
        copied = stack.registers, stack.content, stack.missing
        unwound = unwinder.unwind(space, pid, *copied)
        # A process that left the scope's cgroup maps what is not told of.
        if unwound.ends_outside and (fresh := self._spaces.reread(pid)):
            space = fresh
            unwound = unwinder.unwind(space, pid, *copied)
        found = self._read(unwound, space, pid)
        site = self._call_sites.recurring(stack, unwound)
        if site is not None:
            meaning = self._read(site.verified, space, pid)
            self._call_sites.remember(site, meaning, space.era)
        return self._claims.mark(found, (stack.mounts, stack.users))

    # The probes matched the words of the site in the caller's own stack. Whether they
    # still lead through the same code, its mappings say.
    def _recognise(self, stack: Stack | KnownStack) -> Attribution:
        site = self._call_sites.lookup(stack.template)
        if site is None:
            return unknown("too many call sites: this one is forgotten")
        space = self._spaces.locate(stack.pid)
        if space is None:
            return unknown(_NOT_MAPPED)
        if site.found is not None and site.era == space.era:
            return self._claims.mark(site.found, site.view)
        calls = site.calls_in(space)
        found = self._read(calls, space, stack.pid)
        if calls.stopped == MAPPINGS_CHANGED:
            self._call_sites.forget(site)
            # What is there now may be of another view than what was there.
            return self._claims.mark(found, NO_VIEW)
        site.found, site.era = found, space.era
        return self._claims.mark(found, site.view)

    # Chains of calls repeat, and what they mean is looked up in files.
    def _read(self, unwound: Unwound, space: AddressSpace, pid: int) -> Attribution:
        chain = unwound.chain
        known = space.recall(chain)
        if known is None:
            calls = read_calls(unwound, space, self._images, pid)
            known = self._owners.attribute(calls, pid)
            if space.guard is not None:
                known = replace(known, guard=space.guard)
            space.remember(chain, known)
        return known

    def lookup(self, flow: Traffic | FlowHead) -> Attribution:
        """Return which modules made `flow`, or why they are not known."""
        return self._waiting.lookup(flow)

    def lookup_program(self, pid: int) -> str | None:
        """Return the path that process `pid`'s program was mapped from, if known."""
        space = self._spaces.get(pid)
        if space is None or space.program is None or space.program.is_unbacked:
            return None
        return os.fsdecode(space.program.path)

    def on_mappings(self, records: list[SideRecord], *, lost: bool) -> None:
        """Take the kernel's `records` of mappings; `lost`: some before are missing."""
        if lost:
            self._spaces.clear()
        self._spaces.push(records)

    def on_fork(self, event: Forked) -> None:
        """Follow a process that has begun."""
        self._spaces.retain(event.pid)
        if event.shares_memory:
            self._spaces.advance_to(event.ktime_ns)
            self._spaces.share(event.pid, event.parent)

    def on_exec(self, pid: int, ktime_ns: int) -> None:
        """Forget the call sites of process `pid`, which runs a new program."""
        self._spaces.retain(pid)
        self._spaces.advance_to(ktime_ns)
        self._call_sites.forget_process(pid)

    def on_exit(self, pid: int, ktime_ns: int) -> None:
        """Forget process `pid`, which has ended."""
        self._spaces.advance_to(ktime_ns)
        self._spaces.drop(pid)
        self._call_sites.forget_process(pid)

    def release(self) -> None:
        """Close the files that nothing but the command should keep open."""
        self._images.release()

    def close(self) -> None:
        """Close the files that were read."""
        self._images.close()
