"""Native modules: stacks and mappings in; modules, packages and routes out."""

import os
from collections import OrderedDict
from dataclasses import dataclass, replace

from egressmon import files
from egressmon.attribution.native.call_sites import Memory, Templates
from egressmon.attribution.native.chain import Calls, Step, read_calls
from egressmon.attribution.native.images import Image, Images
from egressmon.attribution.native.mappings import (
    AddressSpace,
    Spaces,
    parse_maps,
)
from egressmon.attribution.native.unwind import Unwinder, Unwound
from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.attribution.packages.owner import Owner
from egressmon.attribution.result import Attribution, Ground, unknown
from egressmon.events.model import FLAG_OWNERLESS, FLAG_STACK_LOST, Stack, Traffic
from egressmon.evidence.code_records import (
    ChainStep,
    ClaimRecord,
    ModuleFile,
    ModuleRecord,
)
from egressmon.files.beginning import Beginning
from egressmon.files.roots import root_of
from egressmon.probes.architecture import Architecture
from egressmon.probes.kernel.sideband import SideRecord

_MAX_WAITING = 4096
_MAX_CALLS = 1024
_MAX_MAPS = 1 << 24
_MAX_VIEWS = 1 << 16
_NOWHERE = 0, 0

_WITHOUT_STACK = {
    "kernel-thread": "a kernel thread made the call",
    "io-worker": "an io_uring worker made the call: no stack leads to who asked",
    "compat": "the process runs 32-bit code, whose stacks are not unwound",
    "unreadable": "the caller's registers could not be read",
}


@dataclass(frozen=True, slots=True)
class _ImageGround(Ground):
    image: Image | None


class Modules:
    """Keeps what stacks said until the connections that they belong to arrive."""

    def __init__(
        self,
        memory: Memory,
        packages: Packages,
        architecture: Architecture | None,
        beginning: Beginning | None = None,
    ) -> None:
        """`memory` is the probes' map of call sites.

        `architecture` is that of the machine on which stacks are copied; without a
        `beginning`, it is now.
        """
        self._beginning = beginning or Beginning()
        self._images = Images(self._beginning)
        self._packages = packages
        self._templates = Templates(memory, architecture)
        self._spaces = Spaces(self._templates.forget)
        self._views: dict[int, tuple[int, int]] = {}
        """The namespaces in which processes made the last call that was told whole."""
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
        if claims := self._claims(found, stack):
            found = replace(found, claimed=claims)
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

    def program(self, pid: int) -> str | None:
        """Return the path that pid's program was mapped from; None: not known."""
        space = self._spaces.of(pid)
        if space is None or space.program is None or space.program.is_unbacked:
            return None
        return os.fsdecode(space.program.path)

    def ended(self, pid: int, ktime_ns: int) -> None:
        """Take note that pid is gone."""
        self._spaces.until(ktime_ns)
        self._spaces.drop(pid)
        self._templates.forget(pid)
        self._views.pop(pid, None)

    def of(self, flow: Traffic) -> Attribution:
        """Return which modules made flow."""
        if flow.flags & FLAG_OWNERLESS:
            return unknown("the kernel named no owner of the packet's socket")
        if flow.flags & FLAG_STACK_LOST:
            return unknown("the caller's stack did not fit the ring")
        if not flow.stack_ns:
            return unknown("no call of the scope's was seen to send it")
        found = self._waiting.get((flow.tid, flow.stack_ns))
        return found or unknown("too many calls before it: its stack is forgotten")

    def close(self) -> None:
        """Close the files that were read."""
        self._images.close()

    # As of each call: what is behind it may have changed since the last one.
    def _claims(self, found: Attribution, stack: Stack) -> tuple[ClaimRecord, ...]:
        namespaces = self._view_of(stack)
        if not found.grounds:
            return ()
        view = self._beginning.why_view(*namespaces)
        claims: list[ClaimRecord] = []
        for ground in found.grounds:
            if why := view or self._why_claimed(ground):
                claims.append(ClaimRecord(ground.field, why))
            if ground.package_claimed is not None:
                field = f"{ground.field}.package"
                claims.append(ClaimRecord(field, ground.package_claimed))
        return tuple(claims)

    # A known call site is not told of whole: its files are those of an earlier call.
    def _view_of(self, stack: Stack) -> tuple[int, int]:
        if stack.status == "known":
            return self._views.get(stack.pid, _NOWHERE)
        if len(self._views) >= _MAX_VIEWS:
            self._views.clear()
        self._views[stack.pid] = view = stack.mounts, stack.users
        return view

    def _why_claimed(self, ground: Ground) -> str | None:
        if ground.path is None:
            return "its code is in no file"
        if not isinstance(ground, _ImageGround) or ground.image is None:
            return "its file is not the one that has that name, or cannot be read"
        return self._images.why_claimed(ground.image)

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
        caller = self._file(calls.caller, pid)
        binding = self._file(calls.binding, pid) if calls.binding else None
        grounds = [_ground("module.caller", calls.caller, *caller)]
        if calls.binding is not None and binding is not None:
            grounds.append(_ground("module.binding", calls.binding, *binding))
        return Attribution(
            _module(calls, caller[0], binding[0] if binding else None),
            None,
            calls.route,
            calls.route_reason,
            calls.is_bypass,
            tuple(grounds),
            language=calls.language,
        )

    def _file(self, step: Step, pid: int) -> tuple[ModuleFile, Owner | None]:
        if step.mapping.is_unbacked:
            return ModuleFile(None, None, None), None
        image = step.image
        if image is None:
            return ModuleFile(step.path, None, None), None
        path = step.path.removesuffix(" (deleted)")
        # A file that was replaced may belong to another package by now, and one in the
        # root of a process that is gone cannot be asked about.
        owner = None
        root = root_of(pid) if image.root else ""
        if bool(root) is bool(image.root):
            owner = self._packages.owner(Place(path, root))
        package = owner.package if owner is not None else None
        verified = owner.verified if owner is not None else None
        return ModuleFile(step.path, image.elf.build_id, package, verified), owner


def _module(
    calls: Calls, caller: ModuleFile, binding: ModuleFile | None
) -> ModuleRecord:
    return ModuleRecord(
        caller=caller,
        binding=binding,
        chain=[
            ChainStep(step.name or "code in no file", step.how) for step in calls.steps
        ],
        chain_end=calls.stopped,
    )


def _ground(field: str, step: Step, file: ModuleFile, owner: Owner | None) -> Ground:
    return _ImageGround(
        field,
        file.path,
        owner.package.name if owner is not None else None,
        owner.claimed if owner is not None else None,
        step.image,
    )
