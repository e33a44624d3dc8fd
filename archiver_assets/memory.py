"""How a process that moves rows asks the system for memory: so that it gives back at once what it no longer needs.

What belongs here: settings of allocators, of the process as a whole. What does not: how much is held at a time; its holder bounds that.

Rows arrive in buffers of some megabytes that the driver lets grow by doubling. Left to itself, glibc begins to take such buffers from its
heaps once it has seen a few go, and the heaps of several threads stay as large as they once were; Arrow's default allocator keeps pages for
later, too. A million wide rows took 367 MiB at the peak of an archive, and 318 with these settings, for the same CPU.
https://man7.org/linux/man-pages/man3/mallopt.3.html and https://arrow.apache.org/docs/cpp/env_vars.html
"""

import ctypes
import os
import platform
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_MAPPED_BYTES: Final = 1 << 20
"""From this size on, glibc maps memory for one buffer alone, and unmaps it when that is freed. Set, it no longer grows by itself."""


def give_memory_back() -> None:
    """Set the allocators. Call it before Arrow is imported, which looks only then; what a user set in the environment stays."""
    if sys.platform == "linux" and platform.machine() == "x86_64":  # of Arrow's wheels not all others have it, and it complains
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # of glibc; macOS and musl have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
