"""The allocators of a process that moves rows: Arrow's, and glibc's, unless the user chose others."""

import os
import platform
import subprocess
import sys

import pytest

SHOW_POOL = (
    "from archiver_assets.memory import give_memory_back as g; g(); import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
)
GROW_AND_FREE = """
import ctypes, resource
from archiver_assets.memory import give_memory_back
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20
give_memory_back()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def taken(size):
    at = libc.malloc(size)
    ctypes.memset(at, 1, size)
    return at
libc.free(taken(30 << 20))  # from then on glibc, left to itself, takes buffers up to this size from the heap
buffers = [taken(2 << 20) for _ in range(50)]
last = taken(300_000)  # so that the heap cannot shrink
before = resident()
for buffer in buffers:
    libc.free(buffer)
print(round(before - resident()))
"""
X86_LINUX = sys.platform == "linux" and platform.machine() == "x86_64"


def run(script: str, **environ: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("ARROW_", "MALLOC_"))}
    return subprocess.run([sys.executable, "-c", script], env={**own, **environ}, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(not X86_LINUX, reason="Arrow's wheels for other platforms need not have jemalloc")
def test_arrow_uses_the_allocator_that_keeps_least_unless_the_user_names_one() -> None:
    assert run(SHOW_POOL) == "jemalloc"
    assert run(SHOW_POOL, ARROW_DEFAULT_MEMORY_POOL="system") == "system"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_buffers_of_megabytes_are_given_back_to_the_system_when_they_are_freed() -> None:
    assert int(run(GROW_AND_FREE)) >= 95
    assert int(run(GROW_AND_FREE, MALLOC_MMAP_THRESHOLD_=str(32 << 20))) < 95, "what the user set stays"
