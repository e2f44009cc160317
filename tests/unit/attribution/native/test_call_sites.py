"""Which call sites the probes are told to recognise, and when they are forgotten."""

from collections.abc import Callable

import pytest

from egressmon.attribution.native.call_sites import (
    MAPPINGS_CHANGED,
    CallSite,
    CallSites,
)
from egressmon.attribution.native.memory.mappings import AddressSpace, Mapping
from egressmon.attribution.native.unwinding.walk import Frame, Unwound
from egressmon.attribution.result import Attribution, unknown
from egressmon.events.decode import DecodeError, decode
from egressmon.events.model import Stack
from egressmon.evidence.records.code import ModuleFile, ModuleRecord
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


def stack(pid: int = 7, place: int = 0x1000, ktime_ns: int = 1) -> Stack:
    words = [0] * WORDS
    words[MACHINE.program_counter] = place
    return Stack(ktime_ns, pid, pid, "copied", 99, 0, tuple(words), b"", 5, 6)


def mapping(start: int, path: bytes, since_ns: int = 1) -> Mapping:
    return Mapping(start, start + 0x1000, 0, path, 1, 1, since_ns)


LIBC, PLUG, PROGRAM = 0x1000, 0x2000, 0x3000
WHERE = {
    LIBC: mapping(LIBC, b"/libc"),
    PLUG: mapping(PLUG, b"/plug"),
    PROGRAM: mapping(PROGRAM, b"/program"),
}


def frame(address: int, saved_at: int | None) -> Frame:
    return Frame(address, WHERE[address & ~0xFFF], "cfi", saved_at)


def chain(*frames: Frame) -> Unwound:
    return Unwound(list(frames), None)


CHAIN = chain(frame(0x1001, None), frame(0x2002, 8), frame(0x3003, 24))


def mapped(*later: Mapping) -> AddressSpace:
    """Return what CHAIN's process has mapped, after `later` was mapped, too."""
    space = AddressSpace()
    for one in (*WHERE.values(), *later):
        space.add(one)
    return space


def recall(space: AddressSpace) -> Unwound:
    """Return CHAIN with what is mapped at its addresses in `space`."""
    frames = [one._replace(mapping=space.find(one.address)) for one in CHAIN.frames]
    return Unwound(frames, None)


def judge(_: Unwound) -> Attribution:
    nothing = ModuleFile(None, None, None)
    return Attribution(
        ModuleRecord(nothing, None, [], None), None, "native", None, bypass=True
    )


def copied(stack: Stack, unwound: Unwound) -> Stack:
    """Return `stack` with the return addresses of `unwound` in it."""
    content = bytearray(64)
    for one in unwound.frames:
        if one.saved_at is not None:
            content[one.saved_at : one.saved_at + 8] = one.address.to_bytes(8, "little")
    return stack._replace(content=bytes(content))


def offer(
    sites: CallSites,
    stack: Stack,
    unwound: Unwound,
    judge: Callable[[Unwound], Attribution],
) -> None:
    """Pass a call on as the attribution of modules does."""
    site = sites.recurring(copied(stack, unwound), unwound)
    if site is not None:
        sites.remember(site, judge(site.verified), era=1)


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
        sites = CallSites(probes, machine, 1)
        for _ in range(2):
            called = Stack(1, 7, 7, "copied", 99, 0, tuple(words), b"")
            offer(sites, called, CHAIN, judge)
        keys += probes.sites

    assert len(keys) == len(ARCHITECTURES)
    assert len(set(keys)) == 1


def test_a_site_is_told_at_its_second_call() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)

    offer(sites, stack(), CHAIN, judge)
    assert not probes.sites
    offer(sites, stack(), CHAIN, judge)

    (content,) = probes.sites.values()
    assert int.from_bytes(content[8:16], "little") == 2
    word = LAYOUTS["template_word"]
    assert word.unpack_from(content, 16) == (8, 0x2002)
    assert word.unpack_from(content, 32) == (24, 0x3003)
    site = sites.lookup(number_of(content))
    assert site is not None
    assert site.found is not None
    assert site.found.route == "native"
    assert site.view == (5, 6)
    assert sites.lookup(number_of(content) + 1) is None


# arm64 signs return addresses: the probes compare what is there with what was there.
def test_a_site_is_recognised_by_the_words_themselves() -> None:
    probes = Probes()
    sites = CallSites(probes, ARCHITECTURES["aarch64"], 1)
    signed = 0x002A_0000_0000_2002
    content = bytes(8) + signed.to_bytes(8, "little") + bytes(8)
    content += (0x3003).to_bytes(8, "little")

    assert sites.recurring(stack()._replace(content=content), CHAIN) is None
    site = sites.recurring(stack()._replace(content=content), CHAIN)
    assert site is not None
    sites.remember(site, judge(site.verified), era=1)

    (template,) = probes.sites.values()
    word = LAYOUTS["template_word"]
    assert word.unpack_from(template, 16) == (8, signed)
    assert word.unpack_from(template, 32) == (24, 0x3003)


def test_a_process_that_is_gone_is_forgotten_once_its_events_are_read() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    for place in (0x1000, 0x2000):
        for pid in (7, 8):
            for _ in range(2):
                offer(sites, stack(pid=pid, place=place + pid), CHAIN, judge)
    assert len(probes.sites) == 4

    sites.forget_process(7)

    assert len(probes.sites) == 2
    # Another process may have had its memory, and called, before the probes forgot.
    assert all(sites.lookup(number) for number in range(1, 5))
    for place in range(0x10000, 0x10000 + 4096 + 2):
        for _ in range(2):
            offer(sites, stack(pid=9, place=place), CHAIN, judge)
        sites.forget_process(9)
    assert sum(sites.lookup(number) is not None for number in range(1, 5)) == 2


# A lazy import: nothing that the call goes through has changed.
def test_a_site_stands_while_what_it_goes_through_is_mapped() -> None:
    space = mapped(mapping(0x9000, b"/imported"))
    (site,) = told(CHAIN)

    assert site.calls_in(space) == CHAIN


def told(unwound: Unwound) -> list[CallSite]:
    """Return the call site of which the probes are told after two such calls."""
    sites = CallSites(Probes(), MACHINE, 1)
    for _ in range(2):
        offer(sites, stack(), unwound, judge)
    return [site for number in (1, 2) if (site := sites.lookup(number))]


@pytest.mark.parametrize(
    ("later", "known"),
    [
        # In what is there now the innermost call of it still is, and no farther.
        (mapping(PLUG, b"/other"), 2),
        (Mapping(PLUG, PLUG + 0x1000, 0x1000, b"/plug", 1, 1, 9), 2),
        (Mapping(PLUG, PLUG + 0x1000, 0, b"/plug", 1, 2, 9), 2),
        (mapping(LIBC, b"/other"), 1),
        (mapping(PROGRAM, b""), 3),
        # The same bytes of the same file, mapped again, or a piece beside the call.
        (mapping(PLUG, b"/plug", since_ns=9), 0),
        (Mapping(PLUG + 0x800, PLUG + 0x900, 0, b"/other", 1, 1, 9), 0),
    ],
)
def test_a_site_is_known_up_to_what_was_replaced(later: Mapping, known: int) -> None:
    space = mapped(later)
    (site,) = told(CHAIN)

    calls = site.calls_in(space)

    if not known:
        assert calls == recall(space)
        return
    assert calls.stopped == MAPPINGS_CHANGED
    assert calls.frames == recall(space).frames[:known]
    assert calls.frames[-1].mapping == later


# What is compiled at run time is mapped anew all the time, and never has a name.
def test_code_in_no_file_stays_code_in_no_file() -> None:
    space = mapped(mapping(PLUG, b"//anon"), mapping(PLUG, b"//anon", since_ns=9))
    before, now = mapped(mapping(PLUG, b"//anon")), recall(space)
    sites = CallSites(Probes(), MACHINE, 1)

    offer(sites, stack(), recall(before), judge)
    offer(sites, stack(), now, judge)

    site = sites.lookup(1)
    assert site is not None
    assert site.calls_in(before) == recall(before)


# As where libraries take turns at one address: each call is another's.
def test_a_call_before_the_mappings_changed_does_not_count() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)

    for turn in range(4):
        name = b"/plugA" if turn % 2 else b"/plugB"
        space = mapped(mapping(PLUG, name, since_ns=turn + 2))
        offer(sites, stack(), recall(space), judge)
        assert not probes.sites
    again = mapped(mapping(PLUG, b"/plugA", since_ns=9))
    offer(sites, stack(), recall(again), judge)
    assert not probes.sites

    offer(sites, stack(), recall(again), judge)
    assert len(probes.sites) == 1


def test_a_site_that_changed_is_copied_and_told_again() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    for _ in range(2):
        offer(sites, stack(), CHAIN, judge)
    site = sites.lookup(1)
    assert site is not None

    sites.forget(site)
    assert not probes.sites
    changed = recall(mapped(mapping(PLUG, b"/other")))
    for _ in range(2):
        offer(sites, stack(), changed, judge)
    assert [number_of(one) for one in probes.sites.values()] == [2]
    sites.forget(site)  # by a late event of the first: the later one stays
    assert len(probes.sites) == 1


def test_a_site_that_the_probes_dropped_is_told_again() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    for _ in range(2):
        offer(sites, stack(), CHAIN, judge)
    probes.sites.clear()  # their map keeps what was used last

    offer(sites, stack(ktime_ns=1 << 62), CHAIN, judge)

    assert len(probes.sites) == 1


def test_a_site_that_the_probes_did_not_take_is_told_again() -> None:
    class Full(Probes):
        def remember(self, key: bytes, template: bytes) -> None:
            raise OSError(len(key), len(template))

    probes = Full()
    sites = CallSites(probes, MACHINE, 1)
    for _ in range(2):
        offer(sites, stack(), CHAIN, judge)
    assert sites.lookup(1) is None

    asked: list[int] = []
    sites = CallSites(probes, MACHINE, 1)
    for _ in range(3):
        site = sites.recurring(copied(stack(), CHAIN), CHAIN)
        if site is not None:
            sites.remember(site, judge(CHAIN), era=1)
            asked.append(site.number)
    assert asked == [0, 0]


def test_only_what_the_words_verify_is_judged() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    judged: list[Unwound] = []
    frames = [frame(0x1001, None), frame(0x2002, 8), frame(0x3003, None)]
    frames.append(frame(0x3004, 40))

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
    sites = CallSites(probes, MACHINE, 1)
    for place in range(5000):
        for _ in range(2):
            offer(sites, stack(place=place), CHAIN, judge)

    assert len(probes.sites) == 4096


def test_a_stack_event_is_decoded() -> None:
    content = LAYOUTS["registers"].pack(*range(WORDS)) + b"stack"
    fields = {"tgid": 7, "tid": 8, "payload_size": 5, "missing": 2}
    data = event("stack_event", "KIND_STACK", content, **fields)

    found = decode(data)

    assert isinstance(found, Stack)
    assert (found.pid, found.tid, found.status) == (7, 8, "copied")
    assert found.registers == tuple(range(WORDS))
    assert (found.content, found.missing) == (b"stack", 2)


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
    sites = CallSites(probes, MACHINE, 1)

    for _ in range(3):
        offer(sites, stack(), CHAIN, lambda _: unknown("too short"))

    assert probes.sites == {}


def test_a_site_is_told_once_however_many_stacks_are_on_their_way() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    offer(sites, stack(), CHAIN, judge)
    offer(sites, stack(), CHAIN, judge)
    (template,) = probes.sites.values()

    for _ in range(5000):
        offer(sites, stack(), CHAIN, judge)

    assert list(probes.sites.values()) == [template]
    assert sites.lookup(number_of(template)) is not None


def test_other_words_at_a_site_take_the_place_of_those_before() -> None:
    probes = Probes()
    sites = CallSites(probes, MACHINE, 1)
    other = chain(frame(0x1001, None), frame(0x2004, 8), frame(0x3003, 24))
    for calls in (CHAIN, CHAIN, other):
        offer(sites, stack(), calls, judge)

    (template,) = probes.sites.values()
    assert number_of(template) == 2
    # What was recognised by the words before may be on its way.
    assert sites.lookup(1) is not None
    assert sites.lookup(2) is not None
