"""The emulator's ground truth as a file: what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from surefoot.hardware.plant import PlantState
from surefoot.hardware.truth import TruthFile, read_truth
from surefoot.models.errors import UsageError

HEADER = ",".join(
    ["time"]
    + [f"base_position_{axis}" for axis in "xyz"]
    + [f"base_quaternion_{axis}" for axis in "wxyz"]
    + [f"linear_velocity_{axis}" for axis in "xyz"]
    + [f"angular_velocity_{axis}" for axis in "xyz"]
    + ["joint_pos_a", "joint_pos_b", "joint_torque_a", "joint_torque_b"]
)


def row(time: float, roll: float = 0.0) -> str:
    half = roll / 2
    numbers = [time, 1, 2, 3, np.cos(half), np.sin(half), 0, 0, *range(10, 16), 0.5, -0.5, 7, 8]
    return ",".join(f"{number:.9g}" for number in numbers)


def test_the_truth_is_read_column_by_column(tmp_path: Path):
    path = tmp_path / "truth.csv"
    path.write_text("\n".join([HEADER, row(5.0), row(5.02, roll=0.3), row(5.04), ""]))
    truth = read_truth(path)
    assert truth.time.tolist() == [5.0, 5.02, 5.04]
    assert truth.base_position[0].tolist() == [1, 2, 3]
    assert truth.linear_velocity[0].tolist() == [10, 11, 12]
    assert truth.angular_velocity[0].tolist() == [13, 14, 15]
    assert truth.joint_pos[2].tolist() == [0.5, -0.5]
    assert truth.joint_torque[2].tolist() == [7, 8]
    assert truth.tilt == pytest.approx([0.0, 0.3, 0.0], abs=1e-6)
    assert truth.qpos.shape == (3, 9)
    assert truth.between(5.01, 5.03).time.tolist() == [5.02]


@pytest.mark.parametrize("cut", ["5.0", row(5.02)[:30], row(5.02)[:-1], row(5.02)])
def test_a_last_row_without_its_end_is_left_out(tmp_path: Path, cut: str):
    path = tmp_path / "truth.csv"
    path.write_text(f"{HEADER}\n{row(5.0)}\n{cut}")
    truth = read_truth(path)
    assert truth.time.shape == (1,)
    assert truth.joint_pos.shape == (1, 2)


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", HEADER.encode(), (HEADER + "\n").encode(), b"a,b\n1,2\n", b"a,b\n1,x\n",
     b"time\n1.0\n", (HEADER + "\n1,2,3\n").encode(), b"\x89MCAP0\r\n\x00\xff\xfe\n"],
)  # fmt: skip
def test_a_file_that_is_no_truth_is_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "truth.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"truth\.csv: this is no truth file"):
        read_truth(path)
    with pytest.raises(UsageError, match=r"missing\.csv: there is no such file"):
        read_truth(tmp_path / "missing.csv")


def test_what_is_written_is_read(tmp_path: Path):
    path = tmp_path / "truth.csv"
    file = TruthFile(path, ["hip", "knee"])
    numbers = np.arange(20) / 8
    state = PlantState(0.0, *np.split(numbers, [2, 4, 7, 11, 14, 17]))
    torque = np.array([-1.5, 2.5])
    for time in (0.0, 0.01, 0.02, 0.04):  # a row every 20 ms
        file.record(time, 100.0, state, torque)
    file.close()
    truth = read_truth(path)
    assert truth.time.tolist() == [100.0, 100.02, 100.04]
    for name in ("base_position", "base_quaternion", "linear_velocity", "angular_velocity"):
        np.testing.assert_array_equal(getattr(truth, name)[1], getattr(state, name))
    np.testing.assert_array_equal(truth.joint_pos[2], state.joint_pos)
    np.testing.assert_array_equal(truth.joint_torque[2], torque)


def test_a_truth_that_cannot_be_written_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"--truth .*truth\.csv: No such file or directory"):
        TruthFile(tmp_path / "missing" / "truth.csv", ["hip"])
