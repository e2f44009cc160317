"""The file and the package behind the calls that count: the caller and the binding."""

from typing import NamedTuple

from egressmon.attribution.native.chain import Calls
from egressmon.attribution.native.chain_modules import Step
from egressmon.attribution.native.unwinding.images import Image
from egressmon.attribution.packages.lookup import Packages, Place
from egressmon.attribution.packages.owner import Owner
from egressmon.attribution.result import Attribution, Ground
from egressmon.evidence.records.code import ChainStep, ModuleFile, ModuleRecord
from egressmon.files.roots import root_of
from egressmon.values import dataclass


@dataclass(frozen=True, slots=True)
class ImageGround(Ground):
    """A module that an attribution rests on, with its open file."""

    image: Image | None


class _Owned(NamedTuple):
    step: Step
    file: ModuleFile
    owner: Owner | None = None

    def ground(self, field: str) -> Ground:
        owner = self.owner
        return ImageGround(
            field,
            self.file.path,
            owner.package.name if owner is not None else None,
            owner.claimed if owner is not None else None,
            self.step.image,
        )


class Owners:
    """Names the packages that calls belong to."""

    def __init__(self, packages: Packages) -> None:
        self._packages = packages

    def attribute(self, calls: Calls, pid: int) -> Attribution:
        """Return who made `calls` in process `pid`: modules, packages and route."""
        if calls.caller is None:
            return Attribution(
                None, calls.route_reason, "unknown", calls.route_reason,
                calls.is_bypass, language=calls.language,
            )  # fmt: skip
        caller = self._owned(calls.caller, pid)
        binding = self._owned(calls.binding, pid) if calls.binding else None
        grounds = [caller.ground("module.caller")]
        if binding is not None:
            grounds.append(binding.ground("module.binding"))
        return Attribution(
            _module(calls, caller.file, binding.file if binding else None),
            None,
            calls.route,
            calls.route_reason,
            calls.is_bypass,
            tuple(grounds),
            language=calls.language,
        )

    def _owned(self, step: Step, pid: int) -> _Owned:
        if step.mapping.is_unbacked:
            return _Owned(step, ModuleFile(None, None, None))
        image = step.image
        if image is None:
            return _Owned(step, ModuleFile(step.path, None, None))
        owner = self._owner(step, image, pid)
        package = owner.package if owner is not None else None
        verified = owner.verified if owner is not None else None
        file = ModuleFile(step.path, image.elf.build_id, package, verified)
        return _Owned(step, file, owner)

    # A file that was replaced may belong to another package by now, and one in the
    # root of a process that is gone cannot be asked about.
    def _owner(self, step: Step, image: Image, pid: int) -> Owner | None:
        path = step.path.removesuffix(" (deleted)")
        root = root_of(pid) if image.root else ""
        if bool(root) is not bool(image.root):
            return None
        return self._packages.owner(Place(path, root))


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
