"""Allocator settings that make a process which moves rows return unused memory to the system at once.

What belongs here: process-wide settings of the allocators. What does not: how much memory is in use at a time, which its users bound.

Rows arrive in buffers of several megabytes, which the driver grows by doubling. By default, glibc starts to take such buffers from its
heaps once a few have been freed, and each thread's heap keeps its peak size. Arrow's default allocator also keeps pages for later. An
archive of a million wide rows peaked at 367 MiB, and at 318 MiB with these settings, for the same CPU.
https://man7.org/linux/man-pages/man3/mallopt.3.html and https://arrow.apache.org/docs/cpp/env_vars.html
"""

import ctypes
import os
import platform
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_MAPPED_BYTES: Final = 1 << 20
"""Bytes. From this size on, glibc maps memory for each buffer separately, and unmaps it when the buffer is freed. Setting the threshold
stops glibc from raising it."""


def give_memory_back() -> None:
    """Configure the allocators, without overriding environment variables that the user set.

    Call it before importing Arrow, which reads its variable only then.
    """
    if sys.platform == "linux" and platform.machine() == "x86_64":  # some other Arrow wheels lack jemalloc, and warn
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only; macOS and musl have none
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
