"""DNS messages, whole or in parts, true or hostile."""

import contextlib
import ipaddress
import itertools
from collections.abc import Callable, Iterable

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.decode import decode
from egressmon.dns_message import MessageError, read_message
from egressmon.dns_stream import Reassembly
from egressmon.dns_watch import DnsWatch, Exchange
from egressmon.events import FLAG_INGRESS, DnsPacket
from support.events import dns as dns_event

SERVER = "192.0.2.53"


def query(name: str = "api.example.org", kind: str = "A", number: int = 7) -> bytes:
    return dns.message.make_query(name, kind, id=number).to_wire()


def answer(
    question: bytes, *records: str, status: dns.rcode.Rcode = dns.rcode.NOERROR
) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(question))
    response.set_rcode(status)
    for record in records:
        name, ttl, kind, value = record.split(" ", 3)
        response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, value))
    return response.to_wire()


def packet(payload: bytes, **fields: object) -> DnsPacket:
    found = decode(dns_event(SERVER, payload, **fields))
    assert isinstance(found, DnsPacket)
    return found


def received(payload: bytes, **fields: object) -> DnsPacket:
    return packet(payload, flags=FLAG_INGRESS, **fields)


def test_a_query_is_read_in_canonical_form() -> None:
    message = read_message(query("API.Example.ORG.", "AAAA"))

    assert (message.name, message.kind) == ("api.example.org", "AAAA")
    assert not message.is_response


def test_addresses_are_found_at_the_end_of_a_cname_chain() -> None:
    data = answer(
        query(),
        "api.example.org. 300 CNAME cdn.example.net.",
        "cdn.example.net. 20 CNAME edge.example.com.",
        "edge.example.com. 60 A 203.0.113.5",
        "unrelated.example.com. 60 A 203.0.113.66",
    )

    message = read_message(data)

    assert message.addresses == (ipaddress.ip_address("203.0.113.5"),)
    assert message.ttl == 20
    assert len(message.answers) == 4


def test_https_records_name_addresses_by_their_hints() -> None:
    data = answer(
        query(kind="HTTPS"),
        "api.example.org. 60 HTTPS 1 . ipv4hint=203.0.113.7 ipv6hint=2001:db8::7",
    )

    assert set(map(str, read_message(data).addresses)) == {"203.0.113.7", "2001:db8::7"}


@pytest.mark.parametrize(
    "records",
    [
        ["api.example.org. 60 CNAME api.example.org."],
        ["api.example.org. 60 CNAME b.test.", "b.test. 60 CNAME api.example.org."],
        ["other.example.org. 60 A 203.0.113.9"],
        [],
    ],
)
def test_a_chain_that_leads_nowhere_names_nothing(records: list[str]) -> None:
    assert read_message(answer(query(), *records)).addresses == ()


def test_an_error_names_nothing() -> None:
    data = answer(
        query(), "api.example.org. 60 A 203.0.113.9", status=dns.rcode.NXDOMAIN
    )

    assert read_message(data).addresses == ()
    assert read_message(data).status == "NXDOMAIN"


def test_an_absurd_time_to_live_is_bounded() -> None:
    data = answer(query(), "api.example.org. 2000000000 A 203.0.113.9")

    assert read_message(data).ttl == 86400


HEADER = b"\0\7\x81\x80\0\1\0\1\0\0\0\0"
CORPUS = {
    "empty": b"",
    "header only": HEADER,
    "pointer to itself": HEADER + b"\xc0\x0c\0\1\0\1",
    "pointer loop": HEADER + b"\xc0\x0e\xc0\x0c\0\1\0\1",
    "pointer past the end": HEADER + b"\xff\xff\0\1\0\1",
    "reserved label type": HEADER + b"\x80a\0\0\1\0\1",
    "label past the end": HEADER + b"\x3fabc",
    "name over 255 bytes": HEADER + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
    "two questions": b"\0\7\1\0\0\2" + bytes(6) + b"\1a\0\0\1\0\1\1b\0\0\1\0\1",
    "no question": b"\0\7\1\0" + bytes(8),
    "65535 records": b"\0\7\x81\x80\0\1\xff\xff\0\0\0\0\1a\0\0\1\0\1",
    "short rdata": HEADER + b"\1a\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\1\0\4\1\2",
    "rdata of the wrong size": HEADER
    + b"\1a\0\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\1\0\2\1\2",
}


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS.keys())
def test_hostile_messages_are_refused_or_name_nothing(data: bytes) -> None:
    try:
        message = read_message(data)
    except MessageError:
        return
    assert message.addresses == ()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        read_message(data)


WHOLE = answer(
    query(),
    "api.example.org. 300 CNAME cdn.example.net.",
    "cdn.example.net. 60 A 203.0.113.5",
)


# One flipped byte can change what a message says, never what reading it does.
@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.integers(0, len(WHOLE)))
def test_a_damaged_answer_is_read_or_refused(at: int, value: int, end: int) -> None:
    data = bytearray(WHOLE)
    data[at] = value
    try:
        message = read_message(bytes(data[:end]))
    except MessageError:
        return
    assert len(message.addresses) <= 1


def framed(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


@given(st.data())
def test_a_stream_is_whole_however_it_is_cut_repeated_or_reordered(
    data: st.DataObject,
) -> None:
    messages = [query(), WHOLE, query("b.example.org")]
    stream = framed(*messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    edges = [0, *cuts, len(stream)]
    start = data.draw(st.sampled_from([0, 1, 2**32 - 100]))
    parts = [
        packet(stream[a:b], protocol=6, sequence=(start + a) % 2**32)
        for a, b in itertools.pairwise(edges)
    ]
    first, rest = parts[0], parts[1:]
    shuffled = data.draw(st.permutations([*rest, *rest[:2]]))
    reassembly = Reassembly()

    got = [one for part in [first, *shuffled] for one in reassembly.parts(part)]

    assert got == messages
    assert reassembly.broken == 0


def test_a_large_datagram_comes_in_parts() -> None:
    reassembly = Reassembly()
    payload = bytes(range(256)) * 40
    parts = [
        packet(payload[i : i + 4096], sequence=i, total_size=len(payload))
        for i in range(0, len(payload), 4096)
    ]

    assert [one for part in parts for one in reassembly.parts(part)] == [payload]


def test_a_large_datagram_with_a_missing_part_is_given_up() -> None:
    reassembly = Reassembly()
    for sequence in (0, 8192):
        part = packet(b"x" * 4096, sequence=sequence, total_size=12288)
        assert list(reassembly.parts(part)) == []

    assert reassembly.broken == 1


def test_segmented_datagrams_are_told_apart() -> None:
    one, two = query("a.example.org"), query("b.example.org")
    assert len(one) == len(two)

    got = Reassembly().parts(packet(one + two, segment_size=len(one)))

    assert list(got) == [one, two]


def test_streams_are_bounded() -> None:
    reassembly = Reassembly()
    for cookie in range(5000):
        list(reassembly.parts(packet(b"\xff\xff.", protocol=6, cookie=cookie)))
    for at in range(0, 400_000, 1000):
        flood = packet(b"\xff" * 1000, protocol=6, cookie=1, sequence=at)
        list(reassembly.parts(flood))

    assert reassembly.broken > 900
    assert reassembly.open_streams <= 4096


Watch = DnsWatch[DnsPacket]


def follow(
    packets: Iterable[DnsPacket],
) -> tuple[list[Exchange[DnsPacket]], Watch]:
    watch = DnsWatch(lambda packet: packet)
    return [one for item in packets for one in watch.feed(item)], watch


def test_an_answer_to_the_sockets_own_question_is_trusted() -> None:
    (exchange,), _ = follow([packet(query()), received(WHOLE)])

    assert exchange.doubt is None
    assert exchange.response is not None
    assert exchange.response.addresses == (ipaddress.ip_address("203.0.113.5"),)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: received(WHOLE, cookie=8),
        lambda: received(answer(query(number=8), "api.example.org. 1 A 203.0.113.6")),
        lambda: received(answer(query("evil.test"), "evil.test. 1 A 203.0.113.6")),
        lambda: received(answer(query(kind="AAAA"))),
    ],
    ids=["another socket", "another number", "another name", "another type"],
)
def test_an_answer_to_another_question_is_not(spoil: Callable[[], DnsPacket]) -> None:
    exchanges, watch = follow([packet(query()), spoil()])

    assert all(one.doubt for one in exchanges)
    (left,) = watch.close(0)
    assert left.doubt == "no answer was seen"


def test_only_the_first_answer_counts() -> None:
    forged = answer(query(), "api.example.org. 1 A 203.0.113.66")

    exchanges, _ = follow([packet(query()), received(WHOLE), received(forged)])

    assert [one.doubt is None for one in exchanges] == [True, False]


def test_unreadable_messages_are_counted_with_their_reason() -> None:
    (exchange,), watch = follow([packet(b"\0")])

    assert watch.malformed == 1
    assert exchange.violation is not None
    assert exchange.violation.startswith("unreadable message")
    assert exchange.unread == 1


def test_open_questions_are_bounded() -> None:
    packets = [packet(query(number=n % 65536), cookie=n) for n in range(8300)]

    exchanges, _ = follow(packets)

    assert len(exchanges) == 8300 - 8192
