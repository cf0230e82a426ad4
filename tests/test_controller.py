"""The controller: what it decides from raw inputs, and what it remembers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from surefoot.deploy.controller import Controller
from tiny_policy import (
    CLOCK_PERIOD,
    COMMAND,
    PERIOD,
    ROBOT,
    SCALE,
    WIDTHS,
    N,
    expected_action,
    sample,
    tiny_policy,
)


def test_a_decision_is_the_graphs_on_the_raw_inputs():
    seen = sample(1)
    decision = Controller(tiny_policy(), ROBOT).act(seen, COMMAND, 3)
    inputs = {
        "joint_pos": seen.joint_pos,
        "gyro": seen.gyro,
        "command": COMMAND,
        "previous_action": np.zeros(N),
        "clock": np.array([3 * PERIOD]),
    }
    assert decision.action == pytest.approx(expected_action(inputs), abs=1e-6)
    assert decision.wanted == pytest.approx(
        ROBOT.default_pose + SCALE * expected_action(inputs), abs=1e-6
    )
    assert decision.wanted.dtype == np.float64
    assert set(decision.inputs) == set(WIDTHS)
    for name, value in inputs.items():
        assert decision.inputs[name].dtype == np.float32
        assert decision.inputs[name] == pytest.approx(value, abs=1e-6)


def test_the_raw_action_comes_back_as_previous_action_until_a_reset():
    controller = Controller(tiny_policy(), ROBOT)
    first = controller.act(sample(1), COMMAND, 0)
    second = controller.act(sample(2), COMMAND, 1)
    third = controller.act(sample(3), COMMAND, 2)
    assert not first.inputs["previous_action"].any()
    assert second.inputs["previous_action"].tobytes() == first.action.tobytes()
    assert third.inputs["previous_action"].tobytes() == second.action.tobytes()
    controller.reset()
    again = controller.act(sample(1), COMMAND, 0)
    assert again.action.tobytes() == first.action.tobytes()


def test_the_golden_pairs_leave_no_trace():
    model = tiny_policy(initial_state=[0.25, -1.5])
    decision = Controller(model, ROBOT).act(sample(1), COMMAND, 0)
    assert not decision.inputs["previous_action"].any()
    assert decision.inputs["state"].tolist() == [0.25, -1.5]


@pytest.mark.parametrize(
    ("tick", "clock"),
    [(0, 0.0), (1, 0.02), (24, 0.48), (25, 0.0), (26, 0.02), (40, 0.3), (25 * 100_000 + 7, 0.14)],
)
def test_the_clock_wraps_at_the_gait_period_however_many_ticks_were_skipped(tick, clock):
    assert CLOCK_PERIOD / PERIOD == 25
    decision = Controller(tiny_policy(), ROBOT).act(sample(), COMMAND, tick)
    assert decision.inputs["clock"] == np.float32(clock)


def test_the_clock_goes_by_the_tick_not_by_the_call():
    controller = Controller(tiny_policy(), ROBOT)
    controller.act(sample(), COMMAND, 4)
    assert controller.act(sample(), COMMAND, 9).inputs["clock"] == np.float32(9 * PERIOD)


def test_a_state_is_carried_from_tick_to_tick():
    controller = Controller(tiny_policy(initial_state=[0.0, 8.0]), ROBOT)
    # next_state = state / 2 + 1
    for state in ([0.0, 8.0], [1.0, 5.0], [1.5, 3.5], [1.75, 2.75]):
        decision = controller.act(sample(5), COMMAND, 0)
        assert decision.inputs["state"].tolist() == state
        assert decision.action == pytest.approx(expected_action(decision.inputs), abs=1e-6)
    controller.reset()
    assert controller.act(sample(5), COMMAND, 0).inputs["state"].tolist() == [0.0, 8.0]


def test_a_state_begins_anew_after_a_gap_longer_than_hold_after():
    controller = Controller(tiny_policy(initial_state=[0.0, 8.0]), ROBOT)
    assert PERIOD < ROBOT.safety.hold_after < 2 * PERIOD
    # Without a decision between them: 0, 1, 2 and 0 ticks.
    states = {0: [0.0, 8.0], 1: [1.0, 5.0], 3: [1.5, 3.5], 6: [0.0, 8.0], 7: [1.0, 5.0]}
    last = np.zeros(N, np.float32)
    for tick, state in states.items():
        decision = controller.act(sample(tick), COMMAND, tick)
        assert decision.inputs["state"].tolist() == state
        assert decision.inputs["previous_action"].tobytes() == last.tobytes()
        last = decision.action


def test_a_state_begins_anew_where_decisions_were_not_sound_for_as_long():
    controller = Controller(tiny_policy(initial_state=[0.0, 8.0]), ROBOT)
    broken = replace(sample(5), gyro=np.full(3, np.nan))
    states = []
    for tick in range(6):
        seen = broken if tick in (2, 3) else sample(tick)
        states.append(controller.act(seen, COMMAND, tick).inputs["state"].tolist())
    assert states == [[0.0, 8.0], [1.0, 5.0], [1.5, 3.5], [1.5, 3.5], [0.0, 8.0], [1.0, 5.0]]


def test_inference_has_no_memory():
    controller = Controller(tiny_policy(), ROBOT)
    first = controller.act(sample(1), COMMAND, 0)
    controller.infer(first.inputs)
    controller.infer_batch({name: value[None] for name, value in first.inputs.items()})
    second = controller.act(sample(2), COMMAND, 1)
    assert second.inputs["previous_action"].tobytes() == first.action.tobytes()


def test_a_batch_is_its_rows():
    controller = Controller(tiny_policy(), ROBOT)
    rng = np.random.default_rng(2)
    rows = 5
    batch = {name: rng.standard_normal((rows, w)).astype(np.float32) for name, w in WIDTHS.items()}
    whole = controller.infer_batch(batch)
    assert whole["action"].shape == whole["joint_target"].shape == (rows, N)
    for row in range(rows):
        one = controller.infer({name: value[row] for name, value in batch.items()})
        for name, value in one.items():
            assert value.shape == (N,)
            assert value == pytest.approx(whole[name][row], abs=1e-6)
