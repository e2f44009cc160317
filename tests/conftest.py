"""What is `long`, or tries `packages`, runs only where asked for; no test is timed."""

import os
import signal

import hypothesis
import pytest

# A busy machine is no fault: what an example takes says nothing.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
ASKED = "EGRESSMON_LONG_TESTS"
ASKED_FOR_PACKAGES = "EGRESSMON_PACKAGE_TESTS"
# A shell starts what it puts in the background with these ignored.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)


# First: `-m long` selects by the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip = pytest.mark.skip(reason=f"long; {ASKED}=1 runs it")
    left_out = pytest.mark.skip(reason="scripts/test-packages runs it")
    has_packages = os.environ.get(ASKED_FOR_PACKAGES) == "1"
    for item in items:
        if "vm" in item.path.relative_to(item.config.rootpath).parts:
            item.add_marker(pytest.mark.long)  # each boots a machine
        if os.environ.get(ASKED) != "1" and item.get_closest_marker("long"):
            item.add_marker(skip)
        if not has_packages and item.get_closest_marker("packages"):
            item.add_marker(left_out)
