"""The real clock, the scheduler's priority, and what the loop may import."""

from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
from typing import Any

import pytest
from surefoot.deploy import realtime
from surefoot.deploy.clock import RealClock


def test_the_real_clock_does_not_wake_early():
    clock = RealClock()
    for wait in (-1.0, 0.0, 0.002):
        until = clock.now() + wait
        clock.sleep_until(until)
        assert clock.now() >= until


def test_realtime_says_what_it_got_and_gives_it_back(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def refuse(pid: int, policy: int, parameters: Any) -> None:
        asked.append(policy)
        raise PermissionError

    limit = {resource.RLIMIT_MEMLOCK: (8 << 20, 8 << 20), resource.RLIMIT_RTPRIO: (0, 0)}
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    monkeypatch.setattr(resource, "getrlimit", limit.__getitem__)
    with realtime.realtime() as notes:
        assert not gc.isenabled()
        assert sys.getswitchinterval() == pytest.approx(0.0005)
        assert notes == [
            "scheduling: ordinary; rtprio limit is 0, SCHED_FIFO needs 50",
            "memory: not locked; memlock limit is 8192 KiB, needs unlimited",
            "garbage collector: off",
        ]
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == pytest.approx(0.005)
    assert asked == [os.SCHED_FIFO | os.SCHED_RESET_ON_FORK]


def test_realtime_restores_the_scheduler(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *arguments: asked.append(arguments[1]))
    monkeypatch.setattr(realtime, "lock_memory", lambda: (False, "memory: not locked"))
    with realtime.realtime() as notes:
        assert notes[0] == "scheduling: SCHED_FIFO, priority 50"
    flag = os.SCHED_RESET_ON_FORK
    assert asked == [os.SCHED_FIFO | flag, os.sched_getscheduler(0) | flag]


def test_the_loop_needs_neither_torch_nor_mujoco():
    code = (
        "import sys, surefoot.deploy.loop, surefoot.deploy.realtime; "
        "print([m for m in ('torch', 'mujoco', 'gymnasium', 'onnxruntime') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
