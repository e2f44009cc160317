"""DNS exchanges are put together from packets, also from hostile ones."""

import ipaddress
import itertools
from collections.abc import Callable, Iterable

import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressmon.events.decode import decode
from egressmon.events.model import (
    DNS_BEGIN,
    DNS_LOOPBACK,
    DNS_RAW,
    DNS_SCOPE_ANSWERS,
    DNS_SCOPE_RECEIVES,
    DNS_SHARED,
    DNS_URGENT,
    FLAG_INGRESS,
    DnsPacket,
)
from egressmon.naming.dns.exchanges import DnsWatch, Exchange
from egressmon.naming.dns.stream import Leftover, Reassembly
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


WHOLE = answer(
    query(),
    "api.example.org. 300 CNAME cdn.example.net.",
    "cdn.example.net. 60 A 203.0.113.5",
)


def framed(*messages: bytes) -> bytes:
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


def segment(payload: bytes, sequence: int = 0, **fields: object) -> DnsPacket:
    """Return a packet of a TCP stream that begins at sequence number 0."""
    traits = DNS_BEGIN if sequence == 0 else 0
    known: dict[str, object] = {"protocol": 6, "traits": traits, **fields}
    return packet(payload, sequence=sequence, **known)


def feed(reassembly: Reassembly, *packets: DnsPacket) -> list[bytes | Leftover]:
    return [part for one in packets for part in reassembly.parts(one)]


@given(st.data())
def test_a_stream_is_whole_however_it_is_cut_repeated_or_reordered(
    data: st.DataObject,
) -> None:
    messages = [query(), WHOLE, query("b.example.org")]
    stream = framed(*messages)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    edges = [0, *cuts, len(stream)]
    start = data.draw(st.sampled_from([0, 1, 2**32 - 100]))
    begin = segment(b"", start, traits=DNS_BEGIN)
    parts = [
        segment(stream[a:b], (start + a) % 2**32, traits=0)
        for a, b in itertools.pairwise(edges)
    ]
    shuffled = data.draw(st.permutations([*parts, *parts[:2], begin]))
    reassembly = Reassembly()

    got = feed(reassembly, begin, *shuffled)

    assert got == messages
    assert reassembly.broken == 0
    assert list(reassembly.close()) == []


# Whatever a stream holds and however it is cut, every byte is accounted for.
@given(st.binary(max_size=400), st.sets(st.integers(1, 399), max_size=5))
def test_every_byte_of_a_stream_is_in_a_message_or_in_the_rest(
    stream: bytes, cuts: set[int]
) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    reassembly = Reassembly()

    got = feed(
        reassembly,
        *(segment(stream[a:b], a) for a, b in itertools.pairwise(edges)),
    )

    got += list(reassembly.close())
    sizes = [one.size if isinstance(one, Leftover) else 2 + len(one) for one in got]
    assert sum(sizes) == len(stream)
    assert reassembly.broken == 0


def test_bytes_that_are_left_over_are_told_at_the_end() -> None:
    reassembly = Reassembly()

    assert feed(reassembly, segment(b"GET / HTTP/1.1\r\n\r\n")) == []

    (rest,) = reassembly.close()
    assert (rest.size, rest.is_lost) == (18, False)


def test_urgent_data_end_the_reading_of_a_stream() -> None:
    reassembly = Reassembly()
    urgent = segment(b"\xff", 20, traits=DNS_URGENT)

    got = feed(reassembly, segment(b"x" * 20), urgent, segment(framed(query()), 21))

    (rest,) = reassembly.close()
    assert got == []
    assert rest.size == 21 + len(framed(query()))
    assert "urgent" in rest.why


def test_another_connection_of_a_socket_ends_the_one_before() -> None:
    reassembly = Reassembly()
    again = segment(b"", 5000, traits=DNS_BEGIN)

    got = feed(
        reassembly, segment(b"\0\7abc"), again, segment(framed(query()), 5000, traits=0)
    )

    rest, message = got
    assert isinstance(rest, Leftover)
    assert rest.size == 5
    assert message == query()


def test_a_stream_whose_beginning_was_not_seen_is_lost() -> None:
    reassembly = Reassembly()

    assert feed(reassembly, segment(framed(query()), 7)) == []

    (rest,) = reassembly.close()
    assert rest.is_lost
    assert reassembly.broken == 1


def test_a_stream_with_a_hole_is_lost() -> None:
    reassembly = Reassembly()

    assert feed(reassembly, segment(b"\0"), segment(b"x", 5)) == []

    (rest,) = reassembly.close()
    assert (rest.size, rest.is_lost) == (2, True)
    assert reassembly.broken == 1


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


def test_an_unfinished_datagram_that_another_replaces_is_counted() -> None:
    reassembly = Reassembly()
    first = packet(b"x" * 4096, total_size=9000)

    assert feed(reassembly, first, first) == []
    assert reassembly.broken == 1


def test_streams_are_bounded_and_what_is_dropped_is_told() -> None:
    reassembly = Reassembly()

    got = feed(reassembly, *(segment(b"\xff\xff.", cookie=n) for n in range(5000)))

    assert [one.size for one in got if isinstance(one, Leftover)] == [3] * (5000 - 4096)
    assert reassembly.broken == 5000 - 4096
    assert reassembly.open_streams == 4096


def test_streams_that_ended_are_forgotten_without_a_word() -> None:
    reassembly = Reassembly()
    whole = framed(query())

    got = feed(reassembly, *(segment(whole, cookie=n) for n in range(5000)))

    assert len(got) == 5000
    assert reassembly.broken == 0


def test_what_streams_keep_is_bounded_in_bytes() -> None:
    reassembly = Reassembly()
    parts = (
        segment(b"\xff" * 4096, 4096 * place, cookie=cookie)
        for cookie in range(600)
        for place in range(15)
    )

    got = feed(reassembly, *parts)

    dropped = sum(one.size for one in got if isinstance(one, Leftover))
    assert 600 * 15 * 4096 - dropped <= 16 << 20
    assert reassembly.broken == len(got)


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


def test_an_unreadable_answer_is_counted_and_is_nobodys_violation() -> None:
    exchanges, watch = follow([packet(query()), received(WHOLE[:9])])

    assert exchanges == []
    assert watch.malformed == 1
    (asked,) = watch.close(9)
    assert asked.violation is None
    assert asked.doubt == "no answer was seen"


def test_unreadable_messages_are_counted_with_their_reason() -> None:
    (exchange,), watch = follow([packet(b"\0")])

    assert watch.malformed == 1
    assert exchange.violation is not None
    assert exchange.violation.startswith("unreadable message")
    assert exchange.unread == 1


def test_open_questions_are_bounded_and_what_is_dropped_is_a_doubt() -> None:
    packets = [packet(query(number=n % 65536), cookie=n) for n in range(8300)]

    exchanges, watch = follow(packets)

    assert len(exchanges) == 8300 - 8192
    assert watch.broken == 8300 - 8192


def test_only_the_same_bytes_are_a_retry() -> None:
    spelt = query().replace(b"api", b"aPI")

    same, _ = follow([packet(query()), packet(query())])
    exchanges, watch = follow([packet(query()), packet(spelt), received(WHOLE)])

    assert same == []
    first, second = exchanges
    assert first.query is not None
    assert first.query.asked == "api.example.org"
    assert first.doubt is not None
    assert second.query is not None
    assert second.query.asked == "aPI.example.org"
    assert second.doubt is None
    assert list(watch.close(0)) == []


@pytest.mark.parametrize(
    ("question", "answered"),
    [
        (0, DNS_SCOPE_RECEIVES | DNS_LOOPBACK),
        (DNS_SCOPE_RECEIVES | DNS_LOOPBACK, DNS_LOOPBACK),
        (0, DNS_LOOPBACK),
    ],
    ids=["bound when it came", "bound when it was asked", "another way back"],
)
def test_an_answer_that_the_scope_could_have_sent_is_not_believed(
    question: int, answered: int
) -> None:
    (exchange,), _ = follow(
        [packet(query(), traits=question), received(WHOLE, traits=answered)]
    )

    assert exchange.doubt is not None


def test_where_the_scope_once_sent_from_is_not_believed_again() -> None:
    sent = packet(b"", traits=DNS_SCOPE_ANSWERS, netns=5)

    exchanges, _ = follow(
        [packet(query()), received(WHOLE), sent, packet(query()), received(WHOLE)]
    )

    assert [one.doubt is None for one in exchanges] == [True, False]


# A server at 127.0.0.53 cannot answer in another network namespace.
@pytest.mark.parametrize(("netns", "believed"), [(1, False), (2, True), (0, False)])
def test_loopback_servers_are_told_apart_by_namespace(
    netns: int, *, believed: bool
) -> None:
    def local(payload: bytes, **fields: object) -> DnsPacket:
        found = decode(dns_event("127.0.0.53", payload, traits=DNS_LOOPBACK, **fields))
        assert isinstance(found, DnsPacket)
        return found

    mark = local(b"", netns=netns)._replace(traits=DNS_SCOPE_ANSWERS)

    (exchange,), _ = follow([mark, local(query()), local(WHOLE, flags=FLAG_INGRESS)])

    assert (exchange.doubt is None) is believed


def test_what_a_raw_socket_sends_asks_nothing_and_is_a_violation() -> None:
    exchanges, watch = follow(
        [
            packet(query(), traits=DNS_RAW),
            segment(b"anything", traits=DNS_RAW),
            received(WHOLE),
        ]
    )

    datagram, stream, answered = exchanges
    assert datagram.query is not None
    assert datagram.violation is not None
    assert stream.violation is not None
    assert stream.unread == 8
    assert answered.doubt is not None
    assert list(watch.close(0)) == []


def test_a_response_to_a_dns_port_is_a_violation() -> None:
    (exchange,), _ = follow([packet(WHOLE)])

    assert exchange.violation is not None
    assert exchange.unread == len(WHOLE)


def test_what_is_left_of_a_stream_is_a_violation_at_the_end() -> None:
    exchanges, watch = follow([segment(b"\0\7abc"), segment(b"\0\7abc", flags=8)])

    assert exchanges == []
    (left,) = watch.close(9)
    assert left.violation is not None
    assert (left.unread, left.ended_ns) == (5, 9)


# Otherwise 4 KiB of empty messages would make 2,048 records.
def test_a_stream_with_an_unreadable_message_is_read_no_further() -> None:
    packets = [segment(framed(query()) + bytes(4000)), segment(framed(query()), 5000)]

    exchanges, watch = follow(packets)

    assert exchanges == []
    assert watch.malformed == 1
    rest, asked = watch.close(0)
    assert rest.violation is not None
    assert "unreadable message: 0 bytes" in rest.violation
    assert rest.unread == 4000 + len(framed(query()))
    assert asked.query is not None


@given(st.data())
def test_other_bytes_in_the_place_of_those_read_are_a_rest(data: st.DataObject) -> None:
    stream = framed(query(), query("b.example.org"))
    start = data.draw(st.integers(0, len(stream) - 1))
    end = data.draw(st.integers(start + 1, len(stream)))
    place = data.draw(st.integers(start, end - 1))
    again = bytearray(stream)
    again[place] ^= data.draw(st.integers(1, 255))
    reassembly = Reassembly()

    got = feed(
        reassembly,
        segment(stream),
        segment(bytes(again[start:end]), start, traits=0),
    )

    (rest,) = reassembly.close()
    assert got == [query(), query("b.example.org")]
    assert "other bytes were sent again" in rest.why
    assert not rest.is_lost


def test_other_bytes_of_a_part_that_waits_for_its_turn_are_a_rest() -> None:
    stream = framed(query())
    begin = segment(b"", 0)
    reassembly = Reassembly()

    feed(reassembly, begin, segment(stream[9:], 9), segment(b"other", 9))

    (rest,) = reassembly.close()
    assert "other bytes were sent again" in rest.why


def test_what_cannot_be_compared_any_more_is_a_loss() -> None:
    one = framed(query())
    many = one * 1000
    reassembly = Reassembly()

    feed(reassembly, segment(many), segment(one, len(many) - len(one)))
    assert reassembly.broken == 0
    feed(reassembly, segment(one, len(one), traits=0))

    assert reassembly.broken == 1
    (rest,) = reassembly.close()
    assert rest.is_lost


def test_what_a_sender_can_still_change_is_a_violation() -> None:
    shared = DNS_BEGIN | DNS_SHARED

    for sent in (
        segment(framed(query()), traits=shared),
        packet(query(), traits=DNS_SHARED),
    ):
        watch = DnsWatch(lambda _: None)
        (one,) = [*watch.feed(sent), *watch.close(1)]
        assert one.unread == len(sent.payload)
        assert "could change them" in (one.violation or "")
