"""Which imported functions open connections or send by themselves."""

from collections.abc import Iterator

from egressmon.files.elf import Elf
from egressmon.inspection.budget import Budget
from egressmon.inspection.findings import Reason
from egressmon.inspection.symbols import Imports
from egressmon.inspection.syscall_function import numbers_asked
from egressmon.inspection.system_calls import SENDING

# A look-up sends to a name server what is asked, so it carries data out as well.
CONNECTING = frozenset(
    [
        *("connect", "getaddrinfo", "getaddrinfo_a", "getnameinfo"),
        *("gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyname2_r"),
        *("gethostbyaddr", "gethostbyaddr_r", "res_query", "res_nquery", "res_search"),
        *("res_nsearch", "res_send", "res_nsend", "res_querydomain"),
        *("rcmd", "rcmd_af", "rexec", "clnt_create", "clntudp_create"),
        *("clnttcp_create", "io_uring_setup", "io_uring_enter", "io_uring_enter2"),
        *("io_uring_register", "io_uring_queue_init", "io_uring_queue_init_params"),
        *("io_uring_submit", "io_uring_submit_and_wait"),
        *("sctp_connectx", "sctp_send", "sctp_sendmsg", "sctp_sendv"),
    ]
)
"""Functions of the C library and of liburing that do."""
SENDING_ON = frozenset(["sendto", "sendmsg", "sendmmsg"])
"""Those that send to anywhere on a socket, which somebody else may have made."""
_SOCKET = "socket"
_CALL = "syscall"
_LOOKED_UP = ("dlsym", "dlvsym")


def _plain(name: str) -> str:
    return name.removeprefix("__").removesuffix("64")


def imported(elf: Elf, imports: Imports, budget: Budget) -> Iterator[Reason]:
    """Yield what the imports of `elf` say. Raises ElfError and SpentError."""
    plain = {_plain(name) for name in imports.names}
    if found := sorted(plain & CONNECTING):
        yield Reason("imports", f"imports {', '.join(found)}", sure=True)
    if found := sorted(plain & SENDING_ON):
        makes = _SOCKET in plain
        own = "" if makes else ", but makes no socket"
        yield Reason("imports", f"imports {', '.join(found)}{own}", sure=makes)
    if _CALL in imports.names:
        yield from _asked(elf, imports, budget)


# The function syscall(2) takes any number: Rust's library asks it for randomness.
def _asked(elf: Elf, imports: Imports, budget: Budget) -> Iterator[Reason]:
    asked = numbers_asked(elf, imports.slots(_CALL), budget)
    names = SENDING.get(elf.machine, {})
    if found := sorted(names[one] for one in asked.numbers if one in names):
        what = f"imports syscall, and calls it for {', '.join(found)}"
        yield Reason("imports", what, sure=True)
    elif asked.unknown:
        what = "imports syscall, which it calls for what is not known"
        yield Reason("imports", what, sure=False)


def looks_up(imports: Imports) -> bool:
    """Tell whether the file may look up functions by their names."""
    return any(name in imports.names for name in _LOOKED_UP)
