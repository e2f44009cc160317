"""The stage that says who did it: stacks, frames and mappings in, code out."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from egressmon.attribution.calls import Calls, Step, read_calls
from egressmon.attribution.code import PythonCode
from egressmon.attribution.contexts import ContextProbes, Contexts
from egressmon.attribution.frames import PythonFrames
from egressmon.attribution.images import Image, Images, root_of
from egressmon.attribution.interpreters import Finder, Interpreters
from egressmon.attribution.mappings import (
    AddressSpace,
    SideRecord,
    Spaces,
    parse_maps,
)
from egressmon.attribution.packages import Packages, Place
from egressmon.attribution.records import (
    ChainStep,
    ModuleFile,
    ModuleRecord,
)
from egressmon.attribution.result import Attribution, unknown
from egressmon.attribution.templates import Memory, Templates
from egressmon.attribution.unwind import Unwinder, Unwound
from egressmon.events import (
    FLAG_OWNERLESS,
    FLAG_STACK_LOST,
    CodeObject,
    Flow,
    Forked,
    Frames,
    Stack,
)
from egressmon.probes.architecture import this_machine

_MAX_WAITING = 4096
_MAX_CALLS = 1024
_MAX_MAPS = 1 << 24

_WITHOUT_STACK = {
    "kernel-thread": "a kernel thread made the call",
    "io-worker": "an io_uring worker made the call: no stack leads to who asked",
    "compat": "the process runs 32-bit code, whose stacks are not unwound",
    "unreadable": "the caller's registers could not be read",
}


class FrameMemory(Finder, ContextProbes, Protocol):
    """The probes' memory of interpreters and code objects."""

    def forget_code(self, key: bytes) -> None:
        """Tell of that code object again."""


class Attributor:
    """Keeps what stacks said until the connections that they belong to arrive."""

    def __init__(
        self, memory: Memory, frames: FrameMemory | None, no_frames: str
    ) -> None:
        """Memory is the probes' of call sites, frames theirs of Python code.

        No_frames says why Python frames are not read, where frames is None.
        """
        self._images = Images()
        self._packages = Packages()
        self._templates = Templates(memory)
        self._spaces = Spaces(self._templates.forget)
        self._no_frames = no_frames
        self._code: PythonCode | None = None
        self._interpreters: Interpreters | None = None
        self._contexts: Contexts | None = None
        if frames is not None:
            self._code = PythonCode(PythonFrames(frames.forget_code), self._packages)
            self._interpreters = Interpreters(frames)
            self._contexts = Contexts(frames)
        self._waiting: OrderedDict[tuple[int, int], Attribution] = OrderedDict()
        self._roots: dict[int, str] = {}
        architecture = this_machine()
        self._unwinder = (
            Unwinder(architecture, self._images) if architecture is not None else None
        )

    def learn(self, records: list[SideRecord], *, lost: bool) -> None:
        """Take what the side band told; lost: something before it is missing."""
        if lost:
            self._spaces.clear()
        self._spaces.push(records)
        if self._interpreters is not None:
            for record in records:
                self._interpreters.saw(record)

    def prepare(self, command: Iterable[bytes], path: bytes) -> None:
        """Know what command, looked for in path, may run."""
        if self._interpreters is not None and self._contexts is not None:
            self._contexts.watch(self._interpreters.prepare(command, path))

    def settle(self) -> None:
        """Return when all that prepare() began is done."""
        if self._contexts is not None:
            self._contexts.settle()

    def wind_up(self) -> None:
        """Begin to end what takes its time: no more tasks will be created."""
        if self._contexts is not None:
            self._contexts.close()

    def saw(self, event: Stack | Frames | CodeObject) -> None:
        """Take what the probes read of a caller."""
        match event:
            case Stack():
                self._saw_stack(event)
            case Frames() if self._code is not None:
                self._code.saw(event)
            case CodeObject() if self._code is not None:
                self._code.frames.learn(event)
            case _:
                pass

    def _saw_stack(self, stack: Stack) -> None:
        found = self._attribute(stack)
        self._waiting[stack.tid, stack.ktime_ns] = found
        if len(self._waiting) > _MAX_WAITING:
            self._waiting.popitem(last=False)

    def forked(self, event: Forked) -> None:
        """Take note that a process began."""
        self._spaces.claim(event.pid)
        if event.parent in self._roots:
            self._roots[event.pid] = self._roots[event.parent]
        if self._code is not None:
            self._code.frames.forked(event.pid, event.start_ns, event.parent)

    def executed(self, pid: int, path: str, ktime_ns: int) -> None:
        """Take note that pid runs a new program, which was called path."""
        self._packages.know_interpreter(path)
        self._roots[pid] = root_of(pid)
        self._spaces.claim(pid)
        self._spaces.until(ktime_ns)
        self._templates.forget(pid)
        if self._code is not None:
            self._code.frames.drop_codes(pid)
        if self._interpreters is not None and self._contexts is not None:
            self._contexts.watch(self._interpreters.executed(pid))

    def ended(self, pid: int, ktime_ns: int) -> None:
        """Take note that pid is gone."""
        self._spaces.until(ktime_ns)
        self._spaces.drop(pid)
        self._roots.pop(pid, None)
        self._templates.forget(pid)
        if self._code is not None:
            self._code.frames.ended(pid)

    def of(self, flow: Flow) -> Attribution:
        """Return who made flow."""
        found = self._module_of(flow)
        if self._code is None:
            return replace(found, code_reason=self._no_frames)
        if flow.flags & FLAG_OWNERLESS:
            return found
        # Of a process that is gone, what it was as it last executed something.
        root = root_of(flow.pid) or self._roots.get(flow.pid, "")
        code, why_not = self._code.of(flow, found.language, root)
        return replace(found, code=code, code_reason=why_not)

    def _module_of(self, flow: Flow) -> Attribution:
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
        if self._contexts is not None:
            self._contexts.close()

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
            with Path(f"/proc/{pid}/maps").open("rb") as file:
                space = parse_maps(file.read(_MAX_MAPS))
            program = Path(f"/proc/{pid}/exe").readlink()
        except OSError:
            return None
        space.set_program(bytes(program))
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
