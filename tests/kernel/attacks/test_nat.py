"""Nobody passes a packet for one that this machine translated."""

import sys
from collections.abc import Callable

from support.lab import OTHER4, OTHER_PORT, SERVER4, SERVER6, UDP_PORT
from support.watching import Watched

Watch = Callable[..., Watched]

NAMED = f'version = 1\n[[allow]]\ncidr = "{SERVER4}"\nports = "any"\nprotocol = "any"\n'


# A thread gives the socket the allowed peer while a packet to the other is under way.
def test_two_threads_that_aim_one_socket_in_turn(watched: Watch) -> None:
    program = f"""
import socket, threading
allowed, other = ("{SERVER4}", {UDP_PORT}), ("{OTHER4}", {UDP_PORT})
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
go = threading.Barrier(2)
def aim(peer, send):
    go.wait()
    for _ in range(3000):
        one.connect(peer)
        if send: one.send(b"x")
threads = [threading.Thread(target=aim, args=(allowed, False)),
           threading.Thread(target=aim, args=(other, True))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    run = watched(sys.executable, "-c", program, policy=NAMED)

    assert all(one["dst"]["translated"] is None for one in run.of("connection"))
    verdicts = {(one["dst"]["ip"], one["verdict"]) for one in run.of("connection")}
    assert (OTHER4, "violation") in verdicts
    assert (OTHER4, "allowed") not in verdicts


# The routing header makes its first segment the target, without any right.
def test_a_route_by_another_target_is_no_translation(watched: Watch) -> None:
    far = "fd00:213:7::99"
    program = f"""
import socket, struct
one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
segments = [socket.inet_pton(socket.AF_INET6, "{far}"),
            socket.inet_pton(socket.AF_INET6, "{SERVER6}")]
header = struct.pack("=BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + b"".join(segments)
one.setsockopt(socket.IPPROTO_IPV6, 57, header)
one.connect(("{far}", {UDP_PORT}))
one.send(b"x")
"""
    policy = (
        f'version = 1\n[[allow]]\ncidr = "{far}"\nports = "any"\nprotocol = "any"\n'
    )
    run = watched(sys.executable, "-c", program, policy=policy)

    assert "Error" not in run.stderr, run.stderr
    assert all(one["dst"]["translated"] is None for one in run.of("connection"))
    assert (SERVER6, "violation") in {
        (one["dst"]["ip"], one["verdict"]) for one in run.of("connection")
    }


# What a raw socket writes into its headers was never aimed at anything.
def test_a_raw_socket_translates_nothing(watched: Watch) -> None:
    program = f"""
import socket, struct
one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
udp = struct.pack("!HHHH", 999, {OTHER_PORT}, 8, 0)
head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, 17, 0,
                   socket.inet_aton("0.0.0.0"), socket.inet_aton("{OTHER4}"))
one.sendto(head + udp, ("{OTHER4}", 0))
plain = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
plain.connect(("{SERVER4}", 0))
plain.sendto(udp, ("{OTHER4}", 0))
"""
    run = watched(sys.executable, "-c", program, policy=NAMED)

    assert all(one["dst"]["translated"] is None for one in run.of("connection"))
    assert (OTHER4, "violation") in {
        (one["dst"]["ip"], one["verdict"]) for one in run.of("connection")
    }


# A route that is set after connect() leads what follows to its first segment.
def test_a_stream_that_is_led_elsewhere_later_is_told_of(watched: Watch) -> None:
    program = f"""
import socket, struct
server = socket.create_server(("::1", 0), family=socket.AF_INET6)
one = socket.create_connection(server.getsockname()[:2])
kept = server.accept()[0]
for end in (one, kept):
    segments = bytes(16) + socket.inet_pton(socket.AF_INET6, "{SERVER6}")
    header = struct.pack("=BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + segments
    end.setsockopt(socket.IPPROTO_IPV6, 57, header)
    for _ in range(3):
        end.send(b"SECRET")
"""
    run = watched(sys.executable, "-c", program)

    assert "Error" not in run.stderr, run.stderr
    told = [one for one in run.of("connection") if one["verdict"] == "violation"]
    assert [one["dst"]["ip"] for one in told] == [SERVER6, SERVER6]
