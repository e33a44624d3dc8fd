"""What runs in a process of its own: each module is a program that does one thing and prints its sample."""

import sys

# A test of readers needs polars. Where an installation of the archiver has none, the driver that reads rows does not import it either.
sys.modules["polars"] = None  # type: ignore[assignment] # https://docs.python.org/3/reference/import.html#the-module-cache
