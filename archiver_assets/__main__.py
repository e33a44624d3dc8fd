"""`python -m archiver_assets` is the `archiver` command."""

import sys

from archiver_assets.cli import main

sys.exit(main())
