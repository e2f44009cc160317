"""The entry point of `python -I -m egressmon`."""

import _signal  # built in, and there at once
import sys

# Ctrl-C ends the start as it ends any other program, and not by a traceback.
if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
# Write no .pyc files: the folder of the code may turn out to belong to another user.
sys.dont_write_bytecode = True

from egressmon.start import main  # noqa: E402

main()
