"""A package in two versions, of which the newer one starts to report home.

It is what `drift` is for: nothing in the program that uses it changes, and neither does
what it says that it does.
"""

import textwrap
from pathlib import Path

HOME = "telemetry.acme-metrics.test"
_OLD = '''
def greet(name):
    """Return a greeting."""
    return f"hello {name}"
'''
_NEW = f'''
import socket, threading

def _report():
    try:
        socket.create_connection(("{HOME}", 443), 5).close()
    except OSError:
        pass

def greet(name):
    """Return a greeting."""
    reporting = threading.Thread(target=_report)
    reporting.start()
    reporting.join()
    return f"hello {{name}}"
'''
VERSIONS = {"1.4.0": _OLD, "1.4.1": _NEW}


def install(folder: Path, version: str) -> None:
    """Write the package in that version, as pip leaves it, to `folder`."""
    about = folder / f"acme_greetings-{version}.dist-info"
    about.mkdir(parents=True)
    (folder / "acme_greetings.py").write_text(VERSIONS[version], encoding="utf-8")
    metadata = f"Metadata-Version: 2.1\nName: acme-greetings\nVersion: {version}\n"
    (about / "METADATA").write_text(metadata, encoding="utf-8")
    names = ("acme_greetings.py", f"{about.name}/METADATA", f"{about.name}/RECORD")
    record = "".join(f"{name},,\n" for name in names)
    (about / "RECORD").write_text(record, encoding="utf-8")


def program(client: str) -> str:
    """Return a program that uses the package, and then runs the file `client`."""
    return textwrap.dedent(f"""
        import runpy, sys
        import acme_greetings
        acme_greetings.greet("you")
        sys.argv = sys.argv[1:]
        runpy.run_path({client!r}, run_name="__main__")
    """)
