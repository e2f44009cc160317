"""Two network namespaces and a wire: one for commands, one for their servers."""

import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def wired(tag: str, ours: Sequence[str], theirs: Sequence[str]) -> Generator[str]:
    """Yield the name of the namespace for commands; servers run at the other.

    Both begin with `tag`; `ours` and `theirs` are their addresses, with prefix lengths.
    """
    client, server = f"{tag}c", f"{tag}s"
    with _namespace(client), _namespace(server):
        link = ("ip", "-n", client, "link", "add", "wire", "type", "veth")
        run(*link, "peer", "name", "wire", "netns", server)
        for namespace, addresses in ((client, ours), (server, theirs)):
            for address in addresses:
                # Without duplicate detection an IPv6 address is usable at once.
                nodad = ("nodad",) if ":" in address else ()
                at = ("addr", "add", address, "dev", "wire", *nodad)
                run("ip", "-n", namespace, *at)
            run("ip", "-n", namespace, "link", "set", "wire", "up")
        yield client


def entering(client: str, resolv_conf: Path) -> list[str]:
    """Return the words that run what follows in `client`, with this resolv.conf."""
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return [
        *("nsenter", f"--net=/run/netns/{client}"),
        *("unshare", "--mount", "--propagation", "private"),
        *("sh", "-c", script, str(resolv_conf)),
    ]


@contextmanager
def served(client: str, words: Sequence[str], ready: str) -> Generator[None]:
    """Run the server `words` at the other end of the wire from `client`.

    Go on when its output says `ready`. It ends with this process, even if that is
    killed. Raises RuntimeError if it does not start.
    """
    peer = f"{client.removesuffix('c')}s"
    enter = ("nsenter", f"--net=/run/netns/{peer}")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *enter, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            said: list[str] = []
            for line in process.stdout or ():
                said.append(line)
                if ready in line:
                    break
            else:
                raise RuntimeError(f"{words[0]} did not start: {said}")
            yield
        finally:
            process.terminate()


def run(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def _namespace(name: str) -> Generator[None]:
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        run("ip", "netns", "del", name)
