"""Methods that run in a separate process: each module is a program that does one thing and prints its sample."""

import sys

# Only a test of readers needs polars. Hide it, because in an installation without polars, the driver that reads rows does not import it.
sys.modules["polars"] = None  # type: ignore[assignment] # https://docs.python.org/3/reference/import.html#the-module-cache
