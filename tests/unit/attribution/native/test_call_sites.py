"""Which call sites the probes are told to recognise, and when they are forgotten."""

from collections.abc import Callable

import pytest

from egressmon.attribution.native.call_sites import CallSites
from egressmon.attribution.native.unwinding.unwind import Frame, Unwound
from egressmon.attribution.result import Attribution, unknown
from egressmon.events.decode import DecodeError, decode
from egressmon.events.model import Stack
from egressmon.evidence.code_records import ModuleFile, ModuleRecord
from egressmon.probes.architecture import ARCHITECTURES
from egressmon.probes.wire import CONSTANTS, LAYOUTS
from support.events import event

WORDS = CONSTANTS["REGISTERS"]
MACHINE = ARCHITECTURES["x86_64"]


class Probes:
    """Remembers what it is told, as the probes' map would."""

    def __init__(self) -> None:
        self.sites: dict[bytes, bytes] = {}

    def remember(self, key: bytes, template: bytes) -> None:
        self.sites[key] = template

    def forget(self, key: bytes) -> None:
        self.sites.pop(key, None)


def stack(
    template: int = 0, pid: int = 7, place: int = 0x1000, ktime_ns: int = 1
) -> Stack:
    words = [0] * WORDS
    words[MACHINE.program_counter] = place
    return Stack(ktime_ns, pid, pid, "copied", 99, template, tuple(words), b"")


def frame(address: int, saved_at: int | None) -> Frame:
    return Frame(address, None, "cfi", saved_at)


CHAIN = Unwound([frame(1, None), frame(2, 8), frame(3, 24)], None)


def judge(_: Unwound) -> Attribution:
    nothing = ModuleFile(None, None, None)
    return Attribution(
        ModuleRecord(nothing, None, [], None), None, "native", None, bypass=True
    )


def offer(
    sites: CallSites,
    stack: Stack,
    unwound: Unwound,
    judge: Callable[[Unwound], Attribution],
) -> None:
    """Pass a call on as the attribution of modules does."""
    site = sites.recurring(stack, unwound)
    if site is not None:
        sites.remember(site, judge(site.verified))


def number_of(template: bytes) -> int:
    return int.from_bytes(template[:8], "little")


# A recording may be from another machine than the one that reads it.
def test_a_site_is_where_the_machine_of_the_stack_has_its_program_counter() -> None:
    keys: list[bytes] = []
    for machine in ARCHITECTURES.values():
        words = [0] * WORDS
        words[machine.program_counter] = 0x1000
        words[machine.registers[machine.stack_pointer]] = 0x7000
        probes = Probes()
        sites = CallSites(probes, machine)
        for _ in range(2):
            copied = Stack(1, 7, 7, "copied", 99, 0, tuple(words), b"")
            offer(sites, copied, CHAIN, judge)
        keys += probes.sites

    assert len(keys) == len(ARCHITECTURES)
    assert len(set(keys)) == 1


def test_a_site_is_told_at_its_second_call() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)

    offer(sites, stack(), CHAIN, judge)
    assert not probes.sites
    offer(sites, stack(), CHAIN, judge)

    (content,) = probes.sites.values()
    assert int.from_bytes(content[8:16], "little") == 2
    word = LAYOUTS["template_word"]
    assert word.unpack_from(content, 16) == (8, 2)
    assert word.unpack_from(content, 32) == (24, 3)
    found = sites.lookup(stack(number_of(content)))
    assert found is not None
    assert found.route == "native"


def test_another_process_may_not_use_it() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    for _ in range(2):
        offer(sites, stack(), CHAIN, judge)
    (content,) = probes.sites.values()

    assert sites.lookup(stack(number_of(content), pid=8)) is None
    assert sites.lookup(stack(number_of(content) + 1)) is None


def test_a_change_of_mappings_forgets_all_of_the_process() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    for place in (0x1000, 0x2000):
        for pid in (7, 8):
            for _ in range(2):
                offer(sites, stack(pid=pid, place=place + pid), CHAIN, judge)
    assert len(probes.sites) == 4

    sites.forget(7)

    assert len(probes.sites) == 2
    assert all(sites.lookup(stack(n, pid=7)) is None for n in range(1, 5))


# As where libraries take turns at one address: each call is another's.
def test_a_call_before_the_mappings_changed_does_not_count() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)

    for _ in range(3):
        offer(sites, stack(), CHAIN, judge)
        assert not probes.sites
        sites.forget(stack().pid)

    offer(sites, stack(), CHAIN, judge)
    offer(sites, stack(), CHAIN, judge)
    assert len(probes.sites) == 1


def test_only_what_the_words_verify_is_judged() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    judged: list[Unwound] = []
    frames = [frame(1, None), frame(2, 8), frame(3, None), frame(4, 40)]

    def note(unwound: Unwound) -> Attribution:
        judged.append(unwound)
        return unknown("")

    for _ in range(2):
        offer(sites, stack(), Unwound(frames, None), note)

    (verified,) = judged
    assert verified.frames == frames[:2]
    assert verified.stopped == "the call site was recognised up to here"


def test_a_bounded_number_is_kept() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    for place in range(5000):
        for _ in range(2):
            offer(sites, stack(place=place), CHAIN, judge)

    assert len(probes.sites) == 4096


def test_a_stack_event_is_decoded() -> None:
    content = LAYOUTS["registers"].pack(*range(WORDS)) + b"stack"
    data = event("stack_event", "KIND_STACK", content, tgid=7, tid=8, payload_size=5)

    found = decode(data)

    assert isinstance(found, Stack)
    assert (found.pid, found.tid, found.status) == (7, 8, "copied")
    assert found.registers == tuple(range(WORDS))
    assert found.content == b"stack"


def test_a_stack_event_that_is_cut_is_refused() -> None:
    whole = LAYOUTS["registers"].pack(*range(WORDS)) + b"stack"
    for content in (b"", whole[:-1], whole[:20]):
        data = event("stack_event", "KIND_STACK", content, payload_size=5)
        with pytest.raises(DecodeError):
            decode(data)


def test_a_call_without_a_stack_needs_none() -> None:
    for name in ("KNOWN", "IO_WORKER", "COMPAT", "KERNEL_THREAD", "UNREADABLE"):
        status = CONSTANTS[f"STACK_{name}"]
        found = decode(event("stack_event", "KIND_STACK", status=status))
        assert isinstance(found, Stack)
        assert found.status != "copied"
    with pytest.raises(DecodeError, match="unknown status 99"):
        decode(event("stack_event", "KIND_STACK", status=99))


def test_a_site_whose_words_do_not_reach_the_caller_is_copied_each_time() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)

    for _ in range(3):
        offer(sites, stack(), CHAIN, lambda _: unknown("too short"))

    assert probes.sites == {}


def test_a_site_is_told_once_however_many_stacks_are_on_their_way() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    offer(sites, stack(), CHAIN, judge)
    offer(sites, stack(), CHAIN, judge)
    (template,) = probes.sites.values()

    for _ in range(5000):
        offer(sites, stack(), CHAIN, judge)

    assert list(probes.sites.values()) == [template]
    assert sites.lookup(stack(number_of(template))) is not None


def test_other_words_at_a_site_take_the_place_of_those_before() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    other = Unwound([frame(1, None), frame(4, 8)], None)
    for chain in (CHAIN, CHAIN, other):
        offer(sites, stack(), chain, judge)

    (template,) = probes.sites.values()
    assert number_of(template) == 2
    # What was recognised by the words before may be on its way.
    assert sites.lookup(stack(1)) is not None
    assert sites.lookup(stack(2)) is not None


# The map keeps the sites that were used last, and drops others without a word.
def test_a_site_that_the_probes_dropped_is_told_again() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE)
    for _ in range(2):
        offer(sites, stack(), CHAIN, judge)
    probes.sites.clear()

    copies = 0
    while not probes.sites and copies < 100:
        offer(sites, stack(ktime_ns=1 << 62), CHAIN, judge)
        copies += 1

    assert copies == 8
    (template,) = probes.sites.values()
    assert sites.lookup(stack(number_of(template))) is not None


def test_a_site_that_could_not_be_told_is_offered_again() -> None:
    class Refusing(Probes):
        refusals = 3

        def remember(self, key: bytes, template: bytes) -> None:
            if self.refusals:
                self.refusals -= 1
                raise OSError(12, "no memory")
            super().remember(key, template)

    probes = Refusing()
    sites = CallSites(probes, MACHINE)

    for _ in range(4):
        offer(sites, stack(), CHAIN, judge)
        assert not probes.sites
    offer(sites, stack(), CHAIN, judge)

    assert len(probes.sites) == 1
