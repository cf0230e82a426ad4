"""robot.toml: what is read, and what a bad file is told."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest
from surefoot.models.errors import RobotFileError, SurefootError
from surefoot.models.robot_file import available_robots, load_robot, parse_robot

ROBOT = load_robot("quadruped")
FOLDER = ROBOT.directory  # where there is an MJCF

# A robot of its own, so that the shipped one can be tuned freely.
TEXT = """\
format = 1
name = "biped"
model = "quadruped.xml"
control_period = 0.02
assumed = ["joint.armature"]

[bus.motors]
protocol = "dynamixel"
baud_rate = 1_000_000
port = "/dev/ttyUSB0"

[bus.imu]
protocol = "witmotion"
baud_rate = 115_200
port = "/dev/ttyUSB1"

[motor.XM430-W210]
model_number = 1030
nominal_voltage = 12.0
stall_torque = 3.0
stall_current = 2.3
no_load_speed = 8.06
stiffness_per_gain = 0.01725
damping_per_gain = 0.0005

[imu]
bus = "imu"
rotation = [1.0, 0.0, 0.0, 0.0]
rate = 200.0

[joint_defaults]
torque_limit = 2.0
rate_limit = 16.0
kp = 13.8
kd = 0.37
armature = 0.014
friction = 0.05
motor = { bus = "motors", model = "XM430-W210", gear = 1.0, zero = 0.0 }

[[joint]]
name = "hip_roll"
default = 0.0
rest = 0.0
lower = -0.6
upper = 0.6
motor = { id = 1, sign = 1 }

[[joint]]
name = "hip_pitch"
default = 0.75
rest = 1.65
lower = -0.6
upper = 2.0
motor = { id = 2, sign = -1 }

[[joint]]
name = "knee"
default = -1.5
rest = -2.6
lower = -2.7
upper = -0.3
motor = { id = 3, sign = 1 }

[safety]
tilt_limit = 0.9
start_tolerance = 0.35
stand_time = 2.0
hold_after = 0.03
damp_after = 0.1
missed_deadlines = 10
damping = 0.8
damp_time = 1.5
watchdog = 0.1
joint_jump = 0.8
frozen_after = 0.25
min_voltage = 10.0
max_temperature = 70.0
"""


def changed(before: str, after: str, count: int = 1) -> str:
    """The file with the first `count` places of `before` replaced, which must be there."""
    assert before in TEXT, before
    return TEXT.replace(before, after, count)


def refusal(text: str) -> str:
    with pytest.raises(RobotFileError) as caught:
        parse_robot(text, FOLDER)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_what_is_read():
    robot = parse_robot(TEXT, FOLDER)
    assert (robot.name, robot.control_period) == ("biped", 0.02)
    assert robot.joint_names == ("hip_roll", "hip_pitch", "knee")
    np.testing.assert_array_equal(robot.default_pose, [0.0, 0.75, -1.5])
    np.testing.assert_array_equal(robot.rest_pose, [0.0, 1.65, -2.6])
    np.testing.assert_array_equal(robot.lower, [-0.6, -0.6, -2.7])
    np.testing.assert_array_equal(robot.upper, [0.6, 2.0, -0.3])
    assert [joint.motor.id for joint in robot.joints] == [1, 2, 3]
    assert robot.joints[0].kp == 13.8  # from joint_defaults
    assert robot.joints[1].motor.sign == -1
    assert robot.joints[1].motor.model == "XM430-W210"  # from joint_defaults.motor
    assert robot.motor_models["XM430-W210"].torque_per_ampere == pytest.approx(3.0 / 2.3)
    assert robot.buses["motors"].baud_rate == 1_000_000
    assert robot.imu is not None and robot.imu.rotation == (1.0, 0.0, 0.0, 0.0)
    assert robot.safety.missed_deadlines == 10
    assert robot.assumed == ("joint.armature",)
    assert robot.mjcf.is_file()


@pytest.mark.parametrize(
    "word",
    ["motor.XM430-W210.stiffness_per_gain", "joint.motor.sign", "imu.rotation", "safety.damping"],
)
def test_what_is_assumed_is_a_key_of_the_file(word: str):
    assert parse_robot(changed("joint.armature", word), FOLDER).assumed == (word,)


@pytest.mark.parametrize("word", ["joint.colour", "signs", "motor.XL430.stall_torque", "hip_roll"])
def test_an_assumed_word_that_is_no_key_is_refused(word: str):
    line = refusal(changed("joint.armature", word))
    assert f"assumed: found '{word}', allowed is a key of this file" in line


def test_an_assumed_word_that_is_no_word_is_refused():
    assert "assumed: found ['joint.kp']" in refusal(changed('["joint.armature"]', '[["joint.kp"]]'))


def test_the_shipped_quadruped_says_that_nobody_has_measured_it():
    for key in ("joint.motor.sign", "joint.motor.zero", "imu.rotation", "joint.friction"):
        assert key in ROBOT.assumed


def test_the_shipped_quadruped():
    assert (ROBOT.name, len(ROBOT.joints)) == ("quadruped", 12)
    assert ROBOT.joint_names[:3] == (
        "front_left_hip_roll", "front_left_hip_pitch", "front_left_knee"
    )  # fmt: skip
    assert [joint.motor.id for joint in ROBOT.joints] == list(range(1, 13))
    for pose in (ROBOT.default_pose, ROBOT.rest_pose):  # four legs alike
        np.testing.assert_array_equal(pose, np.tile(pose[:3], 4))


def test_a_robot_keeps_the_text_it_was_read_from(tmp_path: Path):
    assert parse_robot(TEXT, FOLDER).toml == TEXT
    assert ROBOT.toml.encode() == (FOLDER / "robot.toml").read_bytes()
    raw = f"# Füße\n{ROBOT.toml}".replace("\n", "\r\n").encode()
    (tmp_path / "robot.toml").write_bytes(raw)
    (tmp_path / ROBOT.model).write_bytes(ROBOT.mjcf.read_bytes())
    robot = load_robot(tmp_path)
    assert robot.toml.encode() == raw
    assert parse_robot(robot.toml, tmp_path) == robot


def test_a_robot_is_found_by_name_folder_and_file():
    assert "quadruped" in available_robots()
    for place in (FOLDER, FOLDER / "robot.toml", str(FOLDER)):
        assert load_robot(place).joint_names == ROBOT.joint_names


def test_a_robot_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ROBOT.joints[0].torque_limit = 100.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        ROBOT.torque_limit[0] = 100.0


def test_a_joint_may_differ_from_the_defaults():
    first = "motor = { id = 1, sign = 1 }"
    robot = parse_robot(changed(first, f"kp = 20.0\n{first}"), FOLDER)
    assert (robot.joints[0].kp, robot.joints[1].kp) == (20.0, 13.8)


def test_a_robot_that_is_bolted_to_the_ground_needs_no_imu_and_no_bus_for_one():
    whole = tomllib.loads(TEXT)
    without = [part for part in TEXT.split("\n\n") if not part.startswith(("[imu]", "[bus.imu]"))]
    assert "imu" in whole and len(without) == len(TEXT.split("\n\n")) - 2
    robot = parse_robot("\n\n".join(without), FOLDER)
    assert robot.imu is None and list(robot.buses) == ["motors"]


def test_there_is_no_such_robot(tmp_path: Path):
    with pytest.raises(SurefootError) as caught:
        load_robot("hexapod")
    assert str(caught.value) == (
        f"there is no robot 'hexapod': give one of {', '.join(available_robots())}, "
        "or the path of a robot.toml"
    )
    with pytest.raises(RobotFileError, match="there is no robot"):
        load_robot(tmp_path)


def test_the_source_is_named(tmp_path: Path):
    path = tmp_path / "robot.toml"
    path.write_text("format = ")
    with pytest.raises(RobotFileError) as caught:
        load_robot(path)
    assert str(caught.value).startswith(f"{path}: not TOML: ")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RobotFileError, match="cannot be read: 'utf-8' codec"):
        load_robot(path)


EXACT = [
    (
        changed("[joint_defaults]\n", "[joint_defaults]\ntorque = 1.0\n"),
        "joint[0] 'hip_roll'.torque: found 'an unknown key', allowed is one of "
        "name, default, rest, lower, upper, torque_limit, rate_limit, kp, kd, "
        "armature, friction, motor",
    ),
    (
        changed("rest = 1.65\n", ""),
        "joint[1] 'hip_pitch'.rest: found 'nothing', allowed is a value: it is missing",
    ),
    (
        changed("lower = -0.6", "lower = 0.6"),
        "joint[0] 'hip_roll'.lower: found 0.6, allowed is < upper = 0.6",
    ),
    (
        changed("id = 3, ", "id = 2, "),
        "joint[2] 'knee'.motor.id: found 2, allowed is an id that is free on bus 'motors'",
    ),
    (
        changed("torque_limit = 2.0", "torque_limit = 0"),
        "joint[0] 'hip_roll'.torque_limit: found 0.0, allowed is > 0",
    ),
    (
        changed("torque_limit = 2.0", "torque_limit = 3.1"),
        "joint[0] 'hip_roll'.torque_limit: found 3.1, allowed is <= 3.0, the motor's stall torque",
    ),
    (
        changed('bus = "motors"', 'bus = "motor"'),
        "joint[0] 'hip_roll'.motor.bus: found 'motor', allowed is one of motors, imu",
    ),
    (
        changed("default = 0.75", "default = 2.5"),
        "joint[1] 'hip_pitch'.default: found 2.5, allowed is in [-0.6, 2.0]",
    ),
    (
        # A shaft at -0.6 rad would read as 2π/3 more: 1.49.
        changed("gear = 1.0", "gear = 3.0").replace("rate_limit = 16.0", "rate_limit = 5.0"),
        "joint[1] 'hip_pitch'.upper: found 2.0, allowed is < lower + 1.89 = 1.29: at gear 3 the "
        "motor knows its angle within 2.09 rad, less 0.1 rad beyond either end",
    ),
    (
        changed("upper = 2.0", "upper = 100.0"),
        "joint[1] 'hip_pitch'.upper: found 100.0, allowed is < lower + 6.08 = 5.48: at gear 1 the "
        "motor knows its angle within 6.28 rad, less 0.1 rad beyond either end",
    ),
    (
        changed("rate_limit = 16.0", "rate_limit = 1e9"),
        "joint[0] 'hip_roll'.rate_limit: found 1000000000.0, allowed is <= 16.12, twice what the "
        "motor does without load",
    ),
    (
        changed("format = 1", "format = 2"),
        "format: found 2, allowed is 1",
    ),
    (
        changed("control_period = 0.02", "control_period = nan"),
        "control_period: found nan, allowed is a finite number",
    ),
    (
        changed('protocol = "dynamixel"', 'protocol = "canopen"'),
        "bus.motors.protocol: found 'canopen', allowed is one of dynamixel, unitree, witmotion",
    ),
    (
        changed("rotation = [1.0, 0.0, 0.0, 0.0]", "rotation = [1.0, 0.0, 0.0]"),
        "imu.rotation: found [1.0, 0.0, 0.0], allowed is 4 numbers",
    ),
]


@pytest.mark.parametrize(("text", "message"), EXACT, ids=[message[:40] for _, message in EXACT])
def test_the_exact_words(text: str, message: str):
    assert refusal(text) == f"robot.toml: {message}"


OTHERS = [
    ('"knee"', '"hip_roll"', "name: found 'hip_roll'"),
    ("sign = 1 }", "sign = 0 }", "motor.sign: found 0, allowed is 1 or -1"),
    ("id = 1,", "id = 253,", "motor.id: found 253, allowed is 0 to 252"),
    ("id = 1,", 'id = "1",', "motor.id: found '1', allowed is a whole number"),
    ("id = 1,", "id = 1.5,", "motor.id: found 1.5, allowed is a whole number"),
    ("kp = 13.8", "kp = true", "kp: found True, allowed is a finite number"),
    ("kp = 13.8", "kp = -1.0", "kp: found -1.0, allowed is > 0"),
    ("kd = 0.37", "kd = -0.1", "kd: found -0.1, allowed is >= 0"),
    ("gear = 1.0", "gear = -1.0", "gear: found -1.0, allowed is > 0"),
    ("rate_limit = 16.0", "rate_limit = inf", "rate_limit: found inf"),
    ('model = "XM430-W210"', 'model = "XM540"', "motor.model: found 'XM540', allowed is one of"),
    ('model = "quadruped.xml"', 'model = "dog.xml"', "model: found 'dog.xml', allowed is an MJCF"),
    ("baud_rate = 1_000_000", "baud_rate = 0", "bus.motors.baud_rate: found 0, allowed is > 0"),
    ("stall_torque = 3.0", "stall_torque = 0.0", "motor.XM430-W210.stall_torque: found 0.0"),
    ("[1.0, 0.0, 0.0, 0.0]", "[1.0, 1.0, 0.0, 0.0]", "allowed is a unit quaternion w x y z"),
    ("tilt_limit = 0.9", "tilt_limit = 0.0", "safety.tilt_limit: found 0.0, allowed is > 0"),
    ("tilt_limit = 0.9", "#", "safety.tilt_limit: found 'nothing'"),
    ("tilt_limit = 0.9", "tilt = 0.9", "safety.tilt: found 'an unknown key'"),
    ("tilt_limit = 0.9", "tilt_limit = 100", "tilt_limit: found 100.0, allowed is <= 1.57"),
    ("start_tolerance = 0.35", "start_tolerance = 3.0", "start_tolerance: found 3.0"),
    ("stand_time = 2.0", "stand_time = 200.0", "stand_time: found 200.0, allowed is <= 30"),
    ("hold_after = 0.03", "hold_after = 0.1", "hold_after: found 0.1, allowed is < damp_after"),
    ("damp_after = 0.1", "damp_after = 5.0", "damp_after: found 5.0, allowed is <= 1"),
    ("missed_deadlines = 10", "missed_deadlines = 1000", "found 1000, allowed is <= 100"),
    ("damp_time = 1.5", "damp_time = 90.0", "damp_time: found 90.0, allowed is <= 30"),
    ("watchdog = 0.1", "watchdog = 10.0", "watchdog: found 10.0, allowed is <= 2.54"),
    ("watchdog = 0.1", "watchdog = 0.001", "watchdog: found 0.001, allowed is >= 0.06, three"),
    ("watchdog = 0.1", "watchdog = 0.05", "watchdog: found 0.05, allowed is >= 0.06, three"),
    ("control_period = 0.02", "control_period = 0.05", "found 0.1, allowed is >= 0.15, three"),
    ("joint_jump = 0.8", "joint_jump = 6.0", "joint_jump: found 6.0, allowed is <= 3.14"),
    ("frozen_after = 0.25", "frozen_after = 9.0", "frozen_after: found 9.0, allowed is <= 2"),
    ("min_voltage = 10.0", "min_voltage = 12.0", "found 12.0, allowed is < 12.0, the nominal"),
    ("max_temperature = 70.0", "max_temperature = 500.0", "found 500.0, allowed is <= 100"),
    ("rate = 200.0", "rate = -1", "imu.rate: found -1.0, allowed is > 0"),
    ('[imu]\nbus = "imu"', '[imu]\nbus = "x"', "imu.bus: found 'x', allowed is one of motors, imu"),
    ("format = 1\n", "format = 1\ncolour = 3\n", "colour: found 'an unknown key'"),
    ("control_period = 0.02", "control_period = 0", "control_period: found 0.0, allowed is > 0"),
    ('bus = "motors"', 'bus = "imu"', "found 'imu', allowed is a bus that speaks dynamixel"),
    ('[imu]\nbus = "imu"', '[imu]\nbus = "motors"', "allowed is a bus that speaks witmotion"),
]


@pytest.mark.parametrize(("before", "after", "message"), OTHERS)
def test_what_else_is_refused(before: str, after: str, message: str):
    found = refusal(changed(before, after))
    assert message in found
    assert ", allowed is " in found


def test_the_largest_range_that_a_geared_motor_can_tell() -> None:
    """2π/3 - 0.2 = 1.894 rad, and 2 · 8.06 / 3 = 5.373 rad/s."""
    narrow = changed("gear = 1.0", "gear = 3.0").replace("rate_limit = 16.0", "rate_limit = 5.3733")
    narrow = narrow.replace("lower = -2.7\n", "lower = -2.19\n").replace("-2.6\n", "-2.1\n")
    robot = parse_robot(
        narrow.replace("lower = -0.6\nupper = 2.0", "lower = 0.11\nupper = 2.0"), FOLDER
    )
    assert robot.joints[1].upper - robot.joints[1].lower == pytest.approx(1.89)
    found = refusal(narrow.replace("lower = -0.6\nupper = 2.0", "lower = 0.1\nupper = 2.0"))
    assert "hip_pitch'.upper: found 2.0, allowed is < lower + 1.89" in found


def tables() -> list[tuple[str, str]]:
    """Each key of each section that is no joint's."""
    return [
        (section, key)
        for section, table in tomllib.loads(TEXT).items()
        if section in ("safety", "imu")
        for key in table
    ]


@pytest.mark.parametrize(("section", "key"), tables())
def test_every_figure_is_needed(section: str, key: str):
    head, tail = TEXT.split(f"[{section}]\n")
    lines = tail.splitlines(keepends=True)
    index = next(i for i, line in enumerate(lines) if line.startswith(f"{key} ="))
    text = head + f"[{section}]\n" + "".join(lines[:index] + lines[index + 1 :])
    assert refusal(text) == (
        f"robot.toml: {section}.{key}: found 'nothing', allowed is a value: it is missing"
    )


@pytest.mark.parametrize("text", ["", "joint = 3", "format = 1", TEXT.split("[[joint]]")[0]])
def test_a_file_that_is_cut_off_is_told_so(text: str):
    assert refusal(text).startswith("robot.toml: ")


@pytest.mark.parametrize(
    "tail", ["joint = []\n", "joint = [1]\n", "joint = [{}]\n", "joint = [{motor = 3}]\n"]
)
def test_joints_that_are_none(tail: str):
    head, rest = TEXT.split("[[joint]]", 1)
    safety = rest[rest.index("[safety]") :]
    assert "joint" in refusal(tail + head + safety)


@pytest.mark.parametrize("after", ["motor = 3", "motor = []"])
def test_a_motor_that_is_no_table(after: str):
    assert "motor" in refusal(changed("motor = { id = 1, sign = 1 }", after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[bus.motors]", "[bus]\nmotors = 3\n[bus.other]"),
        ("[motor.XM430-W210]", "[motor]\nXM430-W210 = 3\n[motor.other]"),
        ('motor = { bus = "motors"', 'motor = 3 #{ bus = "motors"'),
    ],
)
def test_a_section_that_is_no_table(before: str, after: str):
    assert ", allowed is " in refusal(changed(before, after))
