"""`python -I -m egressmon`."""

import sys

# Nothing is left behind in a folder that may turn out to be another's.
sys.dont_write_bytecode = True

from egressmon.start import main  # noqa: E402

main()
