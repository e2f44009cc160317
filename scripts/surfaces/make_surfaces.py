"""Run each SDK, and write the pages of what they touch, and of how that drifts."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import drifts
import surfaces_page
from sdk_runs import PROXIED, Runner
from sdks import SDKS, Sdk
from surfaces_page import Surface
from vendor_network import network


def surface(runner: Runner, sdk: Sdk) -> Surface:
    """Return what an SDK touches, of two runs."""
    print(f"surfaces: {sdk.name} ({sdk.registry})", file=sys.stderr)
    ready = sdk.prepare()
    plain, proxied = runner.touched(ready), runner.touched(ready, PROXIED)
    return Surface(sdk, ready.version, plain, proxied)


# Ends as an error does, and so takes the network down.
def _end(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Write the pages to the folder that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("egressmon", nargs="+", help="the words that run it, after --")
    given = parser.parse_args()
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="egressmon-surfaces-") as made:
        folder = Path(made)
        folder.chmod(0o755)
        with network(folder) as net:
            runner = Runner(given.egressmon, net)
            pages = {
                "surfaces.md": surfaces_page.page(
                    [surface(runner, sdk) for sdk in SDKS]
                ),
                "drift-examples.md": drifts.page(runner),
            }
    for name, text in pages.items():
        (given.output / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
