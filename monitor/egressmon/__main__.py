"""`python -m egressmon`."""

from egressmon.cli import main

raise SystemExit(main())
