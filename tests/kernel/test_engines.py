"""Which engine loads the probes, and what is said where one cannot."""

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from egressmon.probes.errors import ProbeError
from egressmon.probes.loaders import bcc, libbpf
from support.watching import EGRESSMON, Watched, watch

PACKAGE = Path(libbpf.__file__).parents[1]
PROBES = PACKAGE / "programs"
OBJECT = PROBES / platform.machine() / libbpf.OBJECT_NAME
BCC = Path("/usr/lib/python3/dist-packages/bcc")
MODULES = Path("/lib/modules")


def over(source: Path, target: Path) -> tuple[str, ...]:
    """Return the words that run something with source in the place of target."""
    script = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
    return ("unshare", "--mount", "sh", "-c", script, "sh", str(source), str(target))


def without(*targets: Path) -> tuple[str, ...]:
    """Return the words that run something without what is in targets."""
    mounts = "; ".join(f"mount -t tmpfs none {target}" for target in targets)
    return ("unshare", "--mount", "sh", "-c", f'{mounts}; exec "$@"', "sh")


def run_engine(
    folder: Path, engine: str, prefix: tuple[str, ...] = (), *options: str
) -> Watched:
    words = ["touch", str(folder / "ran")]
    return watch(folder, *words, options=["--engine", engine, *options], prefix=prefix)


def refused(folder: Path, run: Watched) -> str:
    """Return the error of a run that did nothing; it is one line, and a hint."""
    assert run.status == 125, run.stderr
    assert not (folder / "ran").exists()
    assert run.records == []
    error, hint = run.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    return run.stderr


def test_auto_prefers_libbpf(tmp_path: Path) -> None:
    run = run_engine(tmp_path, "auto")

    start = run.records[0]
    assert start["engine"] == f"libbpf {libbpf.version()}"
    assert start["engine_reason"] == "preferred"
    assert "engine" not in run.stderr


@pytest.mark.smoke
def test_bcc_compiles_the_same_probes_on_the_spot(tmp_path: Path) -> None:
    code = (
        "import socket\n"
        "s = socket.socket(); s.connect_ex(('127.0.0.1', 9))\n"
        "s = socket.socket(socket.AF_INET6); s.connect_ex(('::1', 9))\n"
        "s = socket.socket(type=socket.SOCK_DGRAM); s.sendto(b'x', ('127.0.0.1', 9))\n"
    )
    runs: dict[str, Any] = {}
    for engine in ("libbpf", "bcc"):
        options = ["--engine", engine]
        runs[engine] = watch(tmp_path, sys.executable, "-c", code, options=options)

    start = runs["bcc"].records[0]
    assert start["engine"].startswith("bcc ")
    assert start["engine_reason"] == "asked for"
    assert runs["bcc"].end["canaries"] == runs["libbpf"].end["canaries"]
    assert len(runs["bcc"].reached()) == 3
    assert runs["bcc"].reached() == runs["libbpf"].reached()
    assert runs["bcc"].end["verdict"] == "clean"


def test_auto_falls_back_to_bcc_and_says_why(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(OBJECT.read_bytes()[:1000])

    run = run_engine(tmp_path, "auto", over(damaged, OBJECT))

    assert run.status == 0, run.stderr
    start = run.records[0]
    assert start["engine"].startswith("bcc ")
    assert "of another version, or damaged" in start["engine_reason"]
    assert "egressmon: engine bcc: libbpf could not do it: " in run.stderr
    assert (tmp_path / "ran").exists()


@pytest.mark.userspace
def test_a_damaged_object_alone_is_125(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(OBJECT.read_bytes()[:1000])

    said = refused(tmp_path, run_engine(tmp_path, "libbpf", over(damaged, OBJECT)))

    assert "of another version, or damaged" in said
    assert "install egressmon again" in said


@pytest.mark.userspace
def test_neither_engine_says_both_reasons(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"")
    prefix = (*over(damaged, OBJECT), *without(BCC))

    said = refused(tmp_path, run_engine(tmp_path, "auto", prefix))

    assert "damaged; nor could BCC do it: BCC is not installed" in said


@pytest.mark.parametrize("engine", ["auto", "libbpf", "bcc"])
def test_without_btf(engine: str, tmp_path: Path) -> None:
    prefix = without(Path("/sys/kernel/btf"), MODULES, Path("/boot"))

    if engine == "bcc":  # which needs the headers that are below /lib/modules
        prefix = without(Path("/sys/kernel/btf"))
    said = refused(tmp_path, run_engine(tmp_path, engine, prefix))

    assert "the kernel has no BTF" in said
    assert "CONFIG_DEBUG_INFO_BTF=y" in said


@pytest.mark.parametrize("engine", ["auto", "libbpf", "bcc"])
def test_in_a_user_namespace(engine: str, tmp_path: Path) -> None:
    prefix = ("unshare", "--user", "--map-root-user")

    said = refused(tmp_path, run_engine(tmp_path, engine, prefix))

    assert "egressmon runs in a user namespace" in said
    assert "--privileged" in said


@pytest.mark.userspace
def test_without_bcc(tmp_path: Path) -> None:
    said = refused(tmp_path, run_engine(tmp_path, "bcc", without(BCC)))

    assert "error: BCC is not installed" in said
    assert "apt install python3-bpfcc" in said


@pytest.mark.userspace
def test_with_the_other_bcc_of_pypi(tmp_path: Path) -> None:
    other = tmp_path / "bcc"
    other.mkdir()
    (other / "__init__.py").write_text("")

    said = refused(tmp_path, run_engine(tmp_path, "bcc", over(other, BCC)))

    assert "PyPI's, an unrelated program" in said
    assert "pip uninstall bcc" in said


@pytest.mark.userspace
def test_without_headers(tmp_path: Path) -> None:
    said = refused(tmp_path, run_engine(tmp_path, "bcc", without(MODULES)))

    assert "error: BCC needs kernel headers, and none are installed" in said
    assert f"apt install linux-headers-{platform.release()}" in said


# A source in which BCC, or the kernel, finds fault.
def altered(folder: Path, old: str, new: str) -> tuple[str, ...]:
    source = PROBES / "egressmon.bpf.c"
    text = source.read_text()
    assert old in text
    (folder / "altered.c").write_text(text.replace(old, new))
    return over(folder / "altered.c", source)


@pytest.mark.userspace
def test_a_source_that_does_not_compile(tmp_path: Path) -> None:
    prefix = altered(tmp_path, "return on_bind(ctx, true);", "return on_nothing;")

    said = refused(tmp_path, run_engine(tmp_path, "bcc", prefix))

    assert "error: BCC could not compile the probes with the headers of " in said
    assert "use of undeclared identifier 'on_nothing'" in said
    assert "--verbose" in said


@pytest.mark.userspace
def test_verbose_shows_the_compilers_whole_log(tmp_path: Path) -> None:
    prefix = altered(tmp_path, "return on_bind(ctx, true);", "return on_nothing;")

    run = run_engine(tmp_path, "bcc", prefix, "--verbose")

    assert run.status == 125
    assert "\n        return on_nothing;" in run.stderr.expandtabs()


@pytest.mark.userspace
def test_a_program_that_the_verifier_rejects(tmp_path: Path) -> None:
    prefix = altered(
        tmp_path,
        "on_create(ctx, runs_in_scope());",
        "return *(volatile int *)(long)ctx->type;",
    )

    said = refused(tmp_path, run_engine(tmp_path, "bcc", prefix))

    assert "error: the kernel did not take the probes" in said
    run = run_engine(tmp_path, "bcc", prefix, "--verbose")
    assert "invalid mem access" in run.stderr
    assert "Failed to load BPF program b'root_sock_create'" in run.stderr


@pytest.mark.userspace
@pytest.mark.parametrize(
    ("source", "old", "new"),
    [
        (
            "egressmon.bpf.c",
            "on_egress(skb);\n\treturn 1;",
            "on_egress(skb);\n\treturn *(volatile int *)(long)skb->len;",
        ),
        (
            "python/frames.bpf.c",
            "frames_at_creation(ctx);",
            "frames_at_creation(ctx);\n\treturn *(volatile int *)(long)ctx->type;",
        ),
    ],
)
def test_the_end_of_the_verifiers_log_says_why(
    tmp_path: Path, source: str, old: str, new: str
) -> None:
    folder = tmp_path / "probes"
    shutil.copytree(PACKAGE, folder)
    programs = folder / "programs"
    objects = programs / platform.machine()
    text = (programs / source).read_text()
    assert text.count(old) == 1
    (programs / source).write_text(text.replace(old, new))
    subprocess.run([sys.executable, str(folder / "compile.py")], check=True)

    if source == "egressmon.bpf.c":
        with pytest.raises(ProbeError) as caught:
            libbpf.load_with_frames(objects)
        log = caught.value.log
    else:
        probes, frames = libbpf.load_with_frames(objects)
        probes.close()
        assert isinstance(frames, ProbeError)
        log = frames.log

    assert "invalid mem access" in log
    assert len(log) < 1 << 17


@pytest.mark.userspace
def test_the_command_inherits_nothing_of_the_engine(tmp_path: Path) -> None:
    run = watch(tmp_path, "ls", "-l", "/proc/self/fd", options=["--engine", "bcc"])

    assert run.status == 0, run.stderr
    assert "bpf" not in run.stdout


@pytest.mark.userspace
def test_the_compiler_is_gone_when_the_command_runs(tmp_path: Path) -> None:
    code = (
        "import json, os, pathlib\n"
        "status = pathlib.Path(f'/proc/{os.getppid()}/status').read_text()\n"
        "maps = pathlib.Path(f'/proc/{os.getppid()}/maps').read_text()\n"
        "print(json.dumps('libbcc' in maps or 'libLLVM' in maps))\n"
    )

    run = watch(tmp_path, sys.executable, "-c", code, options=["--engine", "bcc"])

    assert json.loads(run.stdout) is False


@pytest.mark.userspace
def test_the_users_own_kernel_source_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BCC_KERNEL_SOURCE", "/nowhere")

    with pytest.raises(ProbeError) as caught:
        bcc.load()

    assert "with the headers of /nowhere" in str(caught.value)


@pytest.mark.userspace
def test_doctor_says_what_each_engine_would_do() -> None:
    done = subprocess.run(
        [*EGRESSMON, "doctor"], check=False, capture_output=True, text=True
    )

    assert "ok   probes load (libbpf): " in done.stdout
    assert "ok   probes load (bcc): " in done.stdout


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        (("unshare", "--user", "--map-root-user"), "FAIL user namespace: egressmon"),
        # Headers have it, too, and libbpf looks there.
        (
            without(Path("/sys/kernel/btf"), Path("/usr/src"), Path("/usr/lib/debug")),
            "FAIL BTF: the kernel has no BTF",
        ),
    ],
)
def test_doctor_names_what_is_in_the_way(prefix: tuple[str, ...], says: str) -> None:
    done = subprocess.run(
        [*prefix, *EGRESSMON, "doctor"], check=False, capture_output=True, text=True
    )

    assert done.returncode == 1, done.stderr
    assert f"\n{says}" in done.stdout
    assert "FAIL probes load (libbpf): " in done.stdout
    assert "(nothing can be watched):" in done.stdout


def test_a_bcc_that_is_missing_is_no_finding() -> None:
    done = subprocess.run(
        [*without(BCC), *EGRESSMON, "doctor"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0
    assert "?    probes load (bcc): BCC is not installed" in done.stdout


# For each message of libbpf's, Python would be called, and wait for its lock.
def test_probes_that_are_taken_are_not_asked_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(libbpf, "_listening")

    libbpf.load().close()
