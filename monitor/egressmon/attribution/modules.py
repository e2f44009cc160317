"""Native modules: stacks and mappings in; modules, packages and routes out."""

from collections import OrderedDict

from egressmon import files
from egressmon.attribution.calls import Calls, Step, read_calls
from egressmon.attribution.images import Image, Images, root_of
from egressmon.attribution.mappings import (
    AddressSpace,
    SideRecord,
    Spaces,
    parse_maps,
)
from egressmon.attribution.packages import Packages, Place
from egressmon.attribution.records import ChainStep, ModuleFile, ModuleRecord
from egressmon.attribution.result import Attribution, unknown
from egressmon.attribution.templates import Memory, Templates
from egressmon.attribution.unwind import Unwinder, Unwound
from egressmon.events import FLAG_OWNERLESS, FLAG_STACK_LOST, Stack, Traffic
from egressmon.probes.architecture import Architecture

_MAX_WAITING = 4096
_MAX_CALLS = 1024
_MAX_MAPS = 1 << 24

_WITHOUT_STACK = {
    "kernel-thread": "a kernel thread made the call",
    "io-worker": "an io_uring worker made the call: no stack leads to who asked",
    "compat": "the process runs 32-bit code, whose stacks are not unwound",
    "unreadable": "the caller's registers could not be read",
}


class Modules:
    """Keeps what stacks said until the connections that they belong to arrive."""

    def __init__(
        self, memory: Memory, packages: Packages, architecture: Architecture | None
    ) -> None:
        """`memory` is the probes' map of call sites.

        `architecture` is that of the machine on which stacks are copied.
        """
        self._images = Images()
        self._packages = packages
        self._templates = Templates(memory, architecture)
        self._spaces = Spaces(self._templates.forget)
        self._waiting: OrderedDict[tuple[int, int], Attribution] = OrderedDict()
        self._unwinder = (
            Unwinder(architecture, self._images) if architecture is not None else None
        )

    def learn(self, records: list[SideRecord], *, lost: bool) -> None:
        """Take what the side band told; lost: something before it is missing."""
        if lost:
            self._spaces.clear()
        self._spaces.push(records)

    def saw(self, stack: Stack) -> None:
        """Find out who made the call that stack was copied at."""
        found = self._attribute(stack)
        self._waiting[stack.tid, stack.ktime_ns] = found
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popitem(last=False)

    def forked(self, pid: int) -> None:
        """Take note that pid began."""
        self._spaces.claim(pid)

    def executed(self, pid: int, ktime_ns: int) -> None:
        """Take note that pid runs a new program."""
        self._spaces.claim(pid)
        self._spaces.until(ktime_ns)
        self._templates.forget(pid)

    def ended(self, pid: int, ktime_ns: int) -> None:
        """Take note that pid is gone."""
        self._spaces.until(ktime_ns)
        self._spaces.drop(pid)
        self._templates.forget(pid)

    def of(self, flow: Traffic) -> Attribution:
        """Return which modules made flow."""
        if flow.flags & FLAG_OWNERLESS:
            return unknown("the kernel named no owner of the packet's socket")
        if flow.flags & FLAG_STACK_LOST:
            return unknown("the caller's stack did not fit the ring")
        if not flow.stack_ns:
            return unknown("no call of the scope's made the socket")
        found = self._waiting.get((flow.tid, flow.stack_ns))
        return found or unknown("too many calls before it: its stack is forgotten")

    def close(self) -> None:
        """Close the files that were read."""
        self._images.close()

    def _attribute(self, stack: Stack) -> Attribution:
        self._spaces.until(stack.ktime_ns)
        if stack.status in _WITHOUT_STACK:
            return unknown(_WITHOUT_STACK[stack.status])
        if stack.status == "known":
            known = self._templates.find(stack)
            return known or unknown("the mappings changed as the call was made")
        unwinder = self._unwinder
        if unwinder is None:
            return unknown("stacks of this architecture are not unwound")
        space = self._spaces.of(stack.pid) or self._seed(stack.pid)
        if space is None:
            return unknown("what the process had mapped is not known")
        words, content = stack.registers, stack.content
        unwound = unwinder.unwind(space, stack.pid, words, content)
        # A process that left the scope's cgroup maps what is not told of.
        if unwound.frames[-1].mapping is None and (again := self._seed(stack.pid)):
            space = again
            unwound = unwinder.unwind(space, stack.pid, words, content)
        found = self._judge(unwound, space, stack.pid)
        self._templates.offer(
            stack, unwound, lambda verified: self._judge(verified, space, stack.pid)
        )
        return found

    # A process older than the side band, or from before something was lost.
    def _seed(self, pid: int) -> AddressSpace | None:
        try:
            space = parse_maps(files.read(f"/proc/{pid}/maps", _MAX_MAPS))
            program, _ = files.program_of(pid)
        except OSError:
            return None
        space.set_program(program)
        self._spaces.seed(pid, space)
        return space

    # Chains repeat, and what they mean is looked up in files.
    def _judge(self, unwound: Unwound, space: AddressSpace, pid: int) -> Attribution:
        key = (unwound.stopped, *((one.mapping, one.how) for one in unwound.frames))
        known = space.calls.get(key)
        if not isinstance(known, Attribution):
            if len(space.calls) >= _MAX_CALLS:
                space.calls.clear()
            known = space.calls[key] = self._look_up(unwound, space, pid)
        return known

    def _look_up(self, unwound: Unwound, space: AddressSpace, pid: int) -> Attribution:
        calls = read_calls(unwound, space, self._images, pid)
        if calls.caller is None:
            return Attribution(
                None, calls.route_reason, "unknown", calls.route_reason,
                calls.is_bypass, language=calls.language,
            )  # fmt: skip
        module = self._module(calls, calls.caller, pid)
        files = [one for one in (module.caller, module.binding) if one is not None]
        owners = [one.package for one in files if one.package is not None]
        return Attribution(
            module,
            None,
            calls.route,
            calls.route_reason,
            calls.is_bypass,
            tuple({one.path: None for one in files if one.path is not None}),
            tuple({owner.name: None for owner in owners}),
            calls.language,
        )

    def _module(self, calls: Calls, caller: Step, pid: int) -> ModuleRecord:
        return ModuleRecord(
            caller=self._file(caller, pid),
            binding=self._file(calls.binding, pid) if calls.binding else None,
            chain=[
                ChainStep(step.name or "code in no file", step.how)
                for step in calls.steps
            ],
            chain_end=calls.stopped,
        )

    def _file(self, step: Step, pid: int) -> ModuleFile:
        if step.mapping.is_unbacked:
            return ModuleFile(None, None, None)
        image = step.image
        build_id = step.mapping.build_id or (
            image.elf.build_id if isinstance(image, Image) else None
        )
        path = step.path.removesuffix(" (deleted)")
        # A file that was replaced may belong to another package by now, and one in the
        # root of a process that is gone cannot be asked about.
        package = None
        if image is not None:
            root = root_of(pid) if image.root else ""
            if bool(root) is bool(image.root):
                package = self._packages.of(Place(path, root))
        return ModuleFile(step.path, build_id, package)
