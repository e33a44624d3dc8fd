"""`python -m archiver_assets` is the `archiver` command."""

import sys

from archiver_assets.cli.app import main

sys.exit(main())
