"""What Linux and Python can do for a steady control loop, as far as this user may ask for it.

https://man7.org/linux/man-pages/man7/sched.7.html, mlock(2), and the module gc.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PRIORITY = 50  # below the kernel's own threads that serve the serial ports' interrupts
SWITCH_INTERVAL = 0.0005  # after which another thread gives Python's lock to the loop [s]
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4


@contextmanager
def realtime(priority: int = PRIORITY) -> Iterator[list[str]]:
    """Real-time scheduling, locked memory and no garbage collection, for as long as it is open.

    Enter it last, in the loop's own thread, when every other thread runs already. Python's lock
    knows no priorities: who has it is made to give it up sooner. Yields a line for each of the
    three that says what was had, or why not; all are given back at the end.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    collecting, interval = gc.isenabled(), sys.getswitchinterval()
    raised, scheduling = take_priority(priority)
    locked, memory = lock_memory()
    notes = [scheduling, memory, still_collector()]
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield notes
    finally:
        sys.setswitchinterval(interval)
        if raised:  # the flag stays: only a privileged user may clear it
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)
        if locked:
            _libc().munlockall()
        gc.unfreeze()
        if collecting:
            gc.enable()


def take_priority(priority: int) -> tuple[bool, str]:
    """SCHED_FIFO for the calling thread alone: what it starts, threads too, does not inherit it."""
    try:
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except PermissionError:
        limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
        return False, f"scheduling: ordinary; rtprio limit is {limit}, SCHED_FIFO needs {priority}"
    return True, f"scheduling: SCHED_FIFO, priority {priority}"


def lock_memory() -> tuple[bool, str]:
    """Keep in memory each page once it is touched, so that no tick waits for the disk.

    Under a finite limit nothing is locked: the first allocation beyond it would fail.
    """
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY:
        return False, f"memory: not locked; memlock limit is {limit >> 10} KiB, needs unlimited"
    if _libc().mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0:
        return False, f"memory: not locked; {os.strerror(ctypes.get_errno())}"
    return True, "memory: locked"


def still_collector() -> str:
    """Collect once, set what is left aside, and collect no more."""
    gc.collect()
    gc.freeze()
    gc.disable()
    return "garbage collector: off"


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
