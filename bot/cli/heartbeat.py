"""The daemon's heartbeat: it touches the store's lock file, which `healthcheck` looks at."""

import asyncio
import contextlib
import os
from pathlib import Path

INTERVAL = 1.0
"""Seconds between two beats."""


async def beat(lock: Path, interval: float = INTERVAL) -> None:
    """Touch the lock for ever; a loop that hangs does not, and is found out."""
    while True:
        with contextlib.suppress(OSError):  # not taken yet, or the disk is full
            os.utime(lock)
        await asyncio.sleep(interval)
