"""The entry point of `python -I -m egressmon`."""

import signal
import sys

# Ctrl-C ends the start as it ends any other program, and not by a traceback.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
# Write no .pyc files: the folder of the code may turn out to belong to another user.
sys.dont_write_bytecode = True

from egressmon.start import main  # noqa: E402

main()
