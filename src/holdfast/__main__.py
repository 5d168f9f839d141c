"""`python -m holdfast` is the `holdfast` command."""

import sys

from .cli import main

sys.exit(main())
