"""The entry point of `python -I -m egressmon`."""

import sys

# Write no .pyc files: the folder of the code may turn out to belong to another user.
sys.dont_write_bytecode = True

from egressmon.start import main  # noqa: E402

main()
