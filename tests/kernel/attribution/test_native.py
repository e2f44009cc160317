"""Programs in C: stacks of any kind, code in no file, files that change places."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from egressmon.sensor.scope import find_root
from support.watching import Json, Watched, until_recorded

Watch = Callable[..., Watched]
Compile = Callable[..., str]
PORT = 8
pytestmark = pytest.mark.processor


def by_port(run: Watched) -> dict[int, Json]:
    """Return the connections by the port that they went to."""
    return {one["dst"]["port"]: one for one in run.of("connection")}


def caller(record: Json) -> str:
    """Return the name of the calling module."""
    module = record["module"]
    assert module is not None, record["module_reason"]
    return str(module["caller"]["path"]).rpartition("/")[2]


@pytest.mark.parametrize(
    "options", [(), ("-static",), ("-static", "-s"), ("-static-pie",)], ids=" ".join
)
def test_a_program_of_any_linkage(
    watched: Watch, compiled: Compile, options: tuple[str, ...]
) -> None:
    program = compiled("leave", f"leave{''.join(options)}", *options)

    run = watched(program, str(PORT))

    (record,) = run.of("connection")
    assert caller(record) == Path(program).name
    assert record["route"] == "executable"
    assert record["bypass"] is False


@pytest.mark.smoke
def test_a_process_that_ends_at_once_200_times(
    watched: Watch, compiled: Compile
) -> None:
    program = compiled("leave", "leave")

    run = watched("sh", "-c", f"for i in $(seq 200); do {program} {PORT}; done")

    assert Counter(map(caller, run.of("connection"))) == {"leave": 200}
    assert run.end["verdict"] == "clean"
    assert run.end["unknown_modules"] == 0


def test_libraries_that_take_turns_at_one_address(
    watched: Watch, compiled: Compile
) -> None:
    libraries = [compiled("plug", f"plug{i}.so", "-shared", "-fPIC") for i in "AB"]
    program = compiled("turns", "turns", "-ldl")

    run = watched(program, "1000", "100", *libraries)

    addresses = {line.split()[1] for line in run.stdout.splitlines()}
    assert len(addresses) == 1, "the loader used several addresses"
    found = by_port(run)
    names = [caller(found[1000 + i]) for i in range(100)]
    assert names == [f"plug{'AB'[i % 2]}.so" for i in range(100)]


def test_code_in_no_file(watched: Watch, compiled: Compile) -> None:
    run = watched(compiled("injected", "injected"), str(PORT))

    (record,) = run.of("connection")
    assert record["route"] == "unbacked"
    assert record["module"]["caller"]["path"] is None
    assert record["module"]["chain"][0]["file"] == "code in no file"


@pytest.mark.smoke
def test_other_stacks_than_the_threads_own(watched: Watch, compiled: Compile) -> None:
    program = compiled("stack", "stack")

    run = watched(program, str(PORT))

    found = by_port(run)
    assert caller(found[PORT]) == caller(found[PORT + 1]) == "stack"


def test_a_file_replaced_while_it_is_mapped(
    watched: Watch, compiled: Compile, tmp_path: Path
) -> None:
    library, other = tmp_path / "plug.so", tmp_path / "other.so"
    library.write_bytes(
        Path(compiled("plug", "plugA.so", "-shared", "-fPIC")).read_bytes()
    )
    # Another build id, so that it is another file to who looks at that alone.
    other.write_bytes(
        Path(
            compiled("plug", "plugC.so", "-shared", "-fPIC", "-Wl,--build-id=md5")
        ).read_bytes()
    )
    code = (
        f"import ctypes, os; library = ctypes.CDLL({str(library)!r}); "
        f"os.replace({str(other)!r}, {str(library)!r}); library.dial({PORT})"
    )

    run = watched("python3", "-c", code)

    (record,) = run.of("connection")
    module = record["module"]
    assert module is not None, record["module_reason"]
    # Named by its path; its own tables are gone, and the new file's are not used.
    assert caller(record) == "plug.so"
    assert module["caller"]["package"] is None
    assert module["chain_end"] == "the file was replaced since it was mapped"


@pytest.mark.alone
def test_a_hot_loop_is_recognised_and_stays_right(
    watched: Watch, compiled: Compile
) -> None:
    run = watched(compiled("hot", "hot"), str(PORT), "5000", "5000")

    names = Counter(map(caller, run.of("connection")))
    assert names == {"hot": 5000}, run.end["losses"]
    assert run.end["losses"]["missed_stack"] == 0


# Faster than anything can be unwound: who did it may be missing, the connects not.
@pytest.mark.alone
def test_stacks_do_not_crowd_out_connections(watched: Watch, compiled: Compile) -> None:
    run = watched(compiled("hot", "hot"), str(PORT), "20000", "0")

    connections = run.of("connection")
    missed = run.end["losses"]["missed_stack"]
    assert len(connections) == 20000, run.end["losses"]
    assert run.end["verdict"] == "clean"
    assert {caller(one) for one in connections if one["module"]} == {"hot"}
    assert sum(one["module"] is None for one in connections) == missed


def test_less_attribution_on_request(watched: Watch, compiled: Compile) -> None:
    program = compiled("leave", "leave")

    run = watched(program, str(PORT), options=["--attribution", "process"])

    (record,) = run.of("connection")
    assert record["module"] is None
    assert record["module_reason"] == "--attribution process"
    assert record["route"] == "unknown"
    assert run.of("run.start")[0]["attribution"] == "process"


def test_without_perf_events_it_is_said_and_proc_is_asked(
    watched: Watch, compiled: Compile
) -> None:
    refuse = compiled("without_perf", "without_perf")

    run = watched("curl", "-s", f"http://127.0.0.1:{PORT}/", through=(refuse,))

    (start,) = run.of("run.start")
    (spot,) = [one for one in start["blind_spots"] if one["name"] == "mappings"]
    assert "perf events may not be used (Operation not permitted)" in spot["reason"]
    # curl ends at once, too: known if the agent was quick enough, never guessed.
    for record in run.of("connection"):
        if record["module"] is None:
            assert record["module_reason"] == "what the process had mapped is not known"
        else:
            assert caller(record).startswith("libcurl")


def test_a_process_older_than_its_mappings_account(
    watched: Watch, compiled: Compile, tmp_path: Path
) -> None:
    refuse = compiled("without_perf", "without_perf")
    code = (
        f"import socket; s = socket.socket()\ns.connect_ex(('127.0.0.1', {PORT}))\n"
    ) + until_recorded(tmp_path, 1)

    run = watched("python3", "-c", code, through=(refuse,))

    (record,) = run.of("connection")
    assert record["route"] == "python-socket", record["module_reason"]


@pytest.mark.smoke
def test_io_uring_inline_and_by_a_worker(watched: Watch, compiled: Compile) -> None:
    run = watched(compiled("uring", "uring"), str(PORT))

    if run.status == 77:  # kernel.io_uring_disabled, or a filter
        assert "io_uring_setup: " in run.stderr
        assert not run.of("connection")
        return
    found = by_port(run)
    assert caller(found[PORT]) == "uring"
    worker = found[PORT + 1]
    assert worker["module"] is None
    assert worker["module_reason"].startswith("an io_uring worker made the call")
    assert worker["route"] == "unknown"
    assert worker["process"]["exe"].endswith("/uring")


@pytest.mark.smoke
def test_a_32_bit_program(watched: Watch, compiled: Compile) -> None:
    options = ("-m32", "-nostdlib", "-static", "-fno-pic", "-fno-stack-protector")

    run = watched(compiled("compat", "compat", *options))

    (record,) = run.of("connection")
    assert record["module"] is None
    assert record["module_reason"].startswith("the process runs 32-bit code")
    assert record["process"]["exe"].endswith("/compat")


@pytest.mark.userspace
def test_a_root_of_its_own_has_packages_of_its_own(
    watched: Watch, compiled: Compile, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    info = root / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (info / "demo.list").write_text("/usr/bin/hot\n")
    (root / "var/lib/dpkg/status").write_text("Package: demo\nVersion: 1.0\n\n")
    program = Path(compiled("hot", "hot-static", "-static"))
    (root / "usr/bin/hot").write_bytes(program.read_bytes())
    (root / "usr/bin/hot").chmod(0o755)

    # It is there until it is recorded, so that its root can be looked into.
    words = ["chroot", str(root), "/usr/bin/hot", str(PORT), "1", "0", "3600"]
    code = (
        f"import subprocess; one = subprocess.Popen({words})\n"
        + until_recorded(tmp_path, 1)
        + "one.kill(); one.wait()\n"
    )

    run = watched("python3", "-c", code)

    (record,) = run.of("connection")
    file = record["module"]["caller"]
    assert file["path"] == "/usr/bin/hot"
    assert file["package"] == {"kind": "debian", "name": "demo", "version": "1.0"}


INTERPRETERS = sorted(
    {
        str(path)
        for pattern in ("/usr/bin/python3.*", "/usr/local/bin/python3.*")
        for path in Path("/").glob(pattern[1:])
        if path.name.removeprefix("python3.").isdigit()
    }
    | {str(path) for path in Path.home().glob(".pyenv/versions/3.*/bin/python3")}
)


@pytest.mark.userspace
@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_sockets_and_ctypes_of_each_interpreter(
    watched: Watch, interpreter: str
) -> None:
    code = (
        "import ctypes, socket, struct\n"
        f"socket.socket().connect_ex(('127.0.0.1', {PORT}))\n"
        "libc = ctypes.CDLL(None)\n"
        f"peer = struct.pack('=HH4s8x', 2, socket.htons({PORT + 1}), "
        "socket.inet_aton('127.0.0.1'))\n"
        "libc.connect(libc.socket(2, 1, 0), peer, 16)\n"
    )

    run = watched(interpreter, "-c", code)

    found = by_port(run)
    assert found[PORT]["route"] == "python-socket"
    assert found[PORT]["bypass"] is False
    assert found[PORT + 1]["route"] == "native"
    assert found[PORT + 1]["bypass"] is True
    binding = found[PORT + 1]["module"]["binding"]["path"]
    assert binding.rpartition("/")[2].startswith("_ctypes.")


def test_a_process_that_left_the_cgroup(
    watched: Watch, compiled: Compile, tmp_path: Path
) -> None:
    library = compiled("plug", "plugA.so", "-shared", "-fPIC")
    code = (
        "import ctypes, pathlib\n"
        f"pathlib.Path('{find_root()}/cgroup.procs').write_text('0')\n"
        f"ctypes.CDLL({library!r}).dial({PORT})\n"
    ) + until_recorded(tmp_path, 1)

    run = watched("python3", "-c", code)

    (record,) = run.of("connection")
    assert record["socket"] == "foreign"
    assert caller(record) == "plugA.so"
