"""``python -m sparktune``: see :mod:`sparktune.cli`."""

import sys

from sparktune.cli import main

sys.exit(main())
