"""Commands over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.deploy.schedule import Schedule
from surefoot.models.errors import UsageError


def test_schedules():
    points = [(1.0, [0.0, 0.0, 0.0]), (3.0, [1.0, 0.0, -2.0])]
    schedule = Schedule.of(points)
    times = (0.0, 1.0, 2.0, 2.999, 3.0, 9.0)
    assert [schedule.at(t)[0] for t in times] == [0, 0, 0, 0, 1, 1]
    assert [schedule.at(t)[2] for t in times] == [0, 0, 0, 0, -2, -2]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "found no command"),
        ([(0, [1, 2, 3]), (2, [1, 2])], "schedule at 2 s: found 2 numbers, allowed are 3"),
        ([(0, [1, 2, float("nan")])], r"command\[0, 2\]: found nan"),
        ([(0, [0, 0, 0]), (0, [1, 0, 0])], "found 0.0 s after 0.0 s, allowed are rising times"),
    ],
)
def test_schedules_that_cannot_be(points: list, message: str):
    with pytest.raises(UsageError, match=message):
        Schedule.of(points)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_command_that_is_no_number_is_refused_however_it_was_made(bad: float):
    with pytest.raises(UsageError, match=rf"command\[1, 0\]: found {bad}"):
        Schedule(np.array([0.0, 1.0]), np.array([[0.0], [bad]]))


@given(st.floats(-1, 10))
def test_a_schedule_stays_within_its_commands(time: float):
    schedule = Schedule.of([(0, [0.1, 0, 0]), (2, [0.5, 0, 0]), (5, [0.3, 0, 0])])
    assert 0.1 <= schedule.at(time)[0] <= 0.5
