"""The contract in a policy file: what is refused, and what it holds."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto
from surefoot.deploy.contract import FORMAT, KEY, Contract, GoldenPair
from surefoot.deploy.controller import Controller
from surefoot.models.errors import PolicyError
from surefoot.models.limits import Limits
from surefoot.models.robot import Robot
from tiny_policy import (
    COMMAND,
    PERIOD,
    ROBOT,
    SCALE,
    WIDTHS,
    Edit,
    contract,
    graph,
    sample,
    tiny_policy,
    with_text,
)

HOST = Limits.of(ROBOT, "joint_torque")
CHANGED = ROBOT.joint_names[4]  # the joint that the tests below change


def refusal(policy: bytes | str | Path, robot: Robot = ROBOT) -> str:
    """The one line with which the controller refuses."""
    with pytest.raises(PolicyError) as caught:
        Controller(policy, robot)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_joint(index: int, **changes: float) -> Robot:
    joints = list(ROBOT.joints)
    joints[index] = replace(joints[index], **changes)
    return replace(ROBOT, joints=tuple(joints))


# --- refusals: what the policy has, and what the robot has ------------------------------------


def set_to(key: str, value: object) -> Edit:
    return lambda table: table.update({key: value})


def swapped(table: dict) -> None:
    table["joints"][0], table["joints"][1] = table["joints"][1], table["joints"][0]


REFUSED_CONTRACTS = {
    "another robot": (set_to("robot", "spot"), ["'spot'", "'quadruped'"]),
    "joint order": (
        swapped,
        [f"'{ROBOT.joint_names[0]}' at 0", f"'{ROBOT.joint_names[1]}' at 0", "policy", "robot"],
    ),
    "a joint less": (
        lambda table: table["joints"].pop(),
        ["nothing at 11", f"'{ROBOT.joint_names[11]}' at 11"],
    ),
    "control rate": (set_to("control_period", 0.01), ["0.01 s", f"{PERIOD} s", "period"]),
    "default pose of a joint": (
        lambda table: table["default_pose"].__setitem__(4, 0.5),
        ["default_pose", CHANGED, "0.5", str(ROBOT.default_pose[4])],
    ),
    "stiffness of a joint, in the last bit": (
        lambda table: table["kp"].__setitem__(4, math.nextafter(ROBOT.kp[4], math.inf)),
        ["kp", CHANGED, str(math.nextafter(ROBOT.kp[4], math.inf)), str(ROBOT.kp[4])],
    ),
    "damping that is no number": (
        lambda table: table["kd"].__setitem__(4, math.nan),
        ["kd", "nan at 4", "finite"],
    ),
    "a limit more": (
        lambda table: table["upper"].append(1.0),
        ["upper", "13 values", "12"],
    ),
    "another format": (set_to("format", 3), ["3", f"1 and {FORMAT}", "format"]),
    "no format": (lambda table: table.pop("format"), ["None", str(FORMAT), "format"]),
    "a missing key": (lambda table: table.pop("kp"), ["lacks", "kp"]),
    "an unknown key": (set_to("colour", "red"), ["unknown", "colour"]),
    "a word for a vector": (set_to("kp", "stiff"), ["kp", "stiff", "list of numbers"]),
    "nothing for names": (set_to("joints", None), ["joints", "None", "list of names"]),
    "a clock that stands": (set_to("clock_period", 0), ["clock_period", "0", "> 0"]),
    "no golden pair": (set_to("golden", []), ["golden"]),
    "golden pairs of words": (set_to("golden", [{"inputs": "all"}]), ["golden", "pairs"]),
    "a golden input too narrow": (
        lambda table: table["golden"][1]["inputs"]["gyro"].pop(),
        ["golden pair 1", "'gyro': 2", "'gyro': 3"],
    ),
    "a golden output too narrow": (
        lambda table: table["golden"][1]["outputs"].update(action=[0.0]),
        ["golden pair 1", "'action': 1", "'action': 12"],
    ),
    "a golden output missing": (
        lambda table: table["golden"][1]["outputs"].pop("joint_target"),
        ["golden pair 1", "joint_target"],
    ),
    "a golden number off by 1e-3": (
        lambda table: table["golden"][1]["outputs"]["action"].__setitem__(
            7, table["golden"][1]["outputs"]["action"][7] + 1e-3
        ),
        ["golden pair 1", "'action'", "0.001", "1e-05"],
    ),
    "a golden input off by 0.1": (
        lambda table: table["golden"][0]["inputs"]["gyro"].__setitem__(
            0, table["golden"][0]["inputs"]["gyro"][0] + 0.1
        ),
        ["golden pair 0", "off by"],
    ),
    "a golden NaN": (
        lambda table: table["golden"][0]["outputs"]["joint_target"].__setitem__(0, math.nan),
        ["golden pair 0", "'joint_target'", "nan"],
    ),
    "a tolerance that allows all": (set_to("tolerance", math.inf), ["tolerance", "inf"]),
    "a tolerance that allows much": (set_to("tolerance", 0.01), ["tolerance", "0.01", "0.001"]),
    "a tolerance that allows nothing": (set_to("tolerance", 0), ["tolerance", "0", "> 0"]),
    "a tolerance that hides a wrong golden number": (
        lambda table: (
            table.update(tolerance=1e9),
            table["golden"][0]["outputs"]["action"].__setitem__(0, 7.0),
        ),
        ["tolerance", "1000000000.0", "0.001"],
    ),
    "a gyro in degrees": (
        lambda table: table["frames"].update(gyro="deg/s"),
        ["frames, gyro", "'deg/s'", "[rad/s]"],
    ),
    "a frame less": (lambda table: table["frames"].pop("base"), ["frames, base", "None"]),
    "a frame more": (
        lambda table: table["frames"].update(sonar="in feet"),
        ["frames, sonar", "'in feet'", "None"],
    ),
    "frames that are none": (set_to("frames", ["base"]), ["frames", "['base']", "gyro"]),
    "a command without end": (
        lambda table: table["commands"][1].update(upper=math.nan),
        ["commands", "name, unit and lower < upper"],
    ),
    "a command the wrong way round": (
        lambda table: table["commands"][1].update(lower=0.3),
        ["commands", "lower < upper"],
    ),
    "a command without a unit": (
        lambda table: table["commands"][0].pop("unit"),
        ["commands", "unit"],
    ),
    "a command less than the graph has": (
        lambda table: table["commands"].pop(),
        ["input 'command' is 3 wide", "2 on this robot"],
    ),
    "an output that nobody knows": (
        set_to("output", "joint_dance"),
        ["output", "'joint_dance'", "joint_target or joint_torque"],
    ),
    "an output that the graph lacks": (
        lambda table: table.update(output="joint_torque", kp=HOST.kp.tolist(), kd=HOST.kd.tolist()),
        ["output 'joint_torque' is missing", "joint_target"],
    ),
    "an action scale of another robot": (
        set_to("action_scale", [0.35] * 11),
        ["action_scale", "11 values", "12 joints"],
    ),
    "a clock that races": (set_to("clock_period", 1e-9), ["clock_period", "1e-09", "0.02"]),
    "a clock that never wraps": (set_to("clock_period", 1e308), ["clock_period", "1e+308"]),
    "a number too large for any float": (
        lambda table: table["kp"].__setitem__(4, 10**400),
        ["kp", "finite"],
    ),
    "a clock between two ticks": (set_to("clock_period", 0.51), ["clock_period", "0.51", "0.02"]),
    "another action scale than the graph's": (
        set_to("action_scale", 99.0),
        ["golden pair 0", "'joint_target'", "action_scale = 99", "1e-05"],
    ),
    "an action scale without end": (set_to("action_scale", math.inf), ["action_scale", "inf"]),
    "no terms": (set_to("terms", []), ["terms", "names the inputs none", "clock, command, gyro"]),
    "terms of another input": (
        lambda table: table["terms"][1].update(input="gravity"),
        ["terms", "gravity", "gyro"],
    ),
    "terms that are words": (
        set_to("terms", ["gyro"]),
        ["terms", "['gyro']", "each with its input"],
    ),
    "an initial state of NaN": (
        set_to("initial_state", [0.0, math.nan]),
        ["initial_state", "nan at 1", "finite"],
    ),
    "a golden input that is infinite": (
        lambda table: table["golden"][1]["inputs"]["gyro"].__setitem__(2, math.inf),
        ["golden pair 1", "'gyro'", "inf", "finite"],
    ),
}


@pytest.mark.parametrize(("edit", "words"), REFUSED_CONTRACTS.values(), ids=REFUSED_CONTRACTS)
def test_a_contract_that_does_not_fit_is_refused_with_both_sides(edit: Edit, words: list[str]):
    line = refusal(tiny_policy(edit))
    for word in words:
        assert word in line


REFUSED_GRAPHS = {
    "input too wide": (graph({**WIDTHS, "gyro": 4}), ["'gyro' is 4 wide", "3 on this robot"]),
    "unknown input": (graph({**WIDTHS, "sonar": 2}), ["'sonar'", "joint_pos, joint_vel, gyro"]),
    "joints too few": (
        graph({"gyro": 3}, joints=10),
        ["'action' is 10 wide", "12 on this robot"],
    ),
    "missing output": (graph(outputs=["action"]), ["'joint_target' is missing", "has action"]),
    "doubles": (graph(kind=TensorProto.DOUBLE), ["'joint_pos'", "tensor(double)", "tensor(float)"]),
    "a state that begins nowhere": (graph(state=4), ["'state'", "this robot gives"]),
}


@pytest.mark.parametrize(("model", "words"), REFUSED_GRAPHS.values(), ids=REFUSED_GRAPHS)
def test_a_graph_that_does_not_fit_is_refused_with_both_sides(
    model: onnx.ModelProto, words: list[str]
):
    line = refusal(tiny_policy(model=model))
    for word in words:
        assert word in line


def test_an_initial_state_of_another_width_than_the_graphs_is_refused():
    line = refusal(tiny_policy(model=graph(state=4), initial_state=[0.0, 0.0]))
    assert "'state' is 4 wide" in line and "2 on this robot" in line


@pytest.mark.parametrize(
    "edit", [set_to("initial_state", [0.0, 7.0]), lambda table: table["golden"].pop(0)]
)
def test_golden_pairs_that_do_not_show_how_a_run_begins_are_refused(edit):
    assert Controller(tiny_policy(initial_state=[0.0, 8.0]), ROBOT)
    line = refusal(tiny_policy(edit, initial_state=[0.0, 8.0]))
    assert "golden pairs: found none whose state is the initial_state" in line


def test_an_initial_state_without_next_state_is_refused():
    line = refusal(tiny_policy(model=graph(), initial_state=[0.0, 0.0]))
    assert "'next_state' is missing" in line


@pytest.mark.parametrize(
    ("key", "by"),
    [(key, by) for key in ("default", "kp", "kd") for by in (0.01, -0.01)]
    + [("lower", -0.01), ("upper", 0.01), ("torque_limit", 0.01), ("rate_limit", 0.01)],
)
def test_a_robot_that_was_changed_after_training_is_refused(key: str, by: float):
    changed = getattr(ROBOT.joints[4], key) + by
    line = refusal(tiny_policy(), with_joint(4, **{key: changed}))
    assert CHANGED in line and str(changed) in line and str(getattr(ROBOT.joints[4], key)) in line


def test_limits_may_be_tighter_than_in_training():
    assert Controller(tiny_policy(), ROBOT).contract.tightened(ROBOT) == []
    tighter = with_joint(4, lower=-0.5, upper=1.9, torque_limit=1.0, rate_limit=8.0)
    assert Controller(tiny_policy(), tighter).contract.tightened(tighter) == [
        f"{key}, {CHANGED}: tighter in robot.toml ({here}) than in the policy's training ({there})"
        for key, here, there in (
            ("lower", "-0.5", "-0.6"),
            ("upper", "1.9", "2"),
            ("torque_limit", "1", "2"),
            ("rate_limit", "8", "16"),
        )
    ]


def test_files_that_are_no_policy_are_refused(tmp_path: Path):
    missing = tmp_path / "missing.onnx"
    assert f"there is no policy file '{missing}'" in refusal(missing)
    assert "there is no policy file" in refusal(tmp_path)
    (tmp_path / "text.onnx").write_text("not ONNX at all")
    assert "not a policy that ONNX Runtime can load" in refusal(tmp_path / "text.onnx")
    (tmp_path / "empty.onnx").touch()
    assert "not a policy that ONNX Runtime can load" in refusal(tmp_path / "empty.onnx")
    assert "carries no Surefoot contract" in refusal(graph().SerializeToString())


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not JSON"), ("[1, 2]", "a list, not a table"), ("null", "not a table"), ("{}", "None")],
)
def test_metadata_that_is_no_contract_is_refused(text: str, words: str):
    assert words in refusal(with_text(graph(), text))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(share: float):
    whole = tiny_policy()
    refusal(whole[: int(share * len(whole))])


def test_a_file_with_a_byte_gone_wrong_is_refused_or_means_the_same():
    """Never another error, and never another function than the golden pairs know."""
    whole = tiny_policy()
    before = Controller(whole, ROBOT).act(sample(1), COMMAND, 3)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(300):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        try:
            after = Controller(bytes(broken), ROBOT).act(sample(1), COMMAND, 3)
        except PolicyError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        assert after.wanted == pytest.approx(before.wanted, abs=1e-4)
    assert 100 < refused < 300


# --- the contract as text ---------------------------------------------------------------------

GRAPH = graph()
doubles = st.floats(allow_nan=False, allow_infinity=False)


def bits(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


fed = st.floats(-3.4e38, 3.4e38)  # what a graph can be fed


@given(st.lists(doubles, min_size=1), st.lists(fed, min_size=1), st.floats(1e-300, 1e300))
def test_json_keeps_every_bit_of_every_double(
    values: list[float], state: list[float], period: float
):
    before = replace(
        contract(GRAPH),
        control_period=period,
        kp=values,
        initial_state=state,
        golden=[GoldenPair({"gyro": values}, {"action": values})],
    )
    after = Contract.from_json(before.to_json())
    assert after == before
    assert bits([after.control_period]) == bits([period])
    assert after.initial_state is not None and bits(after.initial_state) == bits(state)
    for found in (after.kp, after.golden[0].inputs["gyro"]):
        assert bits(found) == bits(values)


def test_json_is_one_line_with_every_field():
    text = contract(GRAPH).to_json()
    assert "\n" not in text
    assert set(json.loads(text)) == {field.name for field in fields(Contract)}


def test_what_is_not_finite_is_never_written():
    for broken in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            replace(contract(GRAPH), action_scale=broken).to_json()


def test_a_policy_that_fits_is_accepted(tmp_path: Path):
    path = tmp_path / "policy.onnx"
    path.write_bytes(tiny_policy())
    controller = Controller(path, ROBOT)
    assert controller.contract.kp == ROBOT.kp.tolist()
    assert controller.model == path.read_bytes()
    assert controller.sha256 == Controller(str(path), ROBOT).sha256
    assert asdict(controller.contract) == json.loads(
        next(entry.value for entry in onnx.load(path).metadata_props if entry.key == KEY)
    )


# --- other formats, outputs and robots ----------------------------------------------------------


def to_format_1(table: dict) -> None:
    """What Surefoot wrote before it knew other commands than a walk's, in place."""
    del table["commands"], table["output"]
    table.update(format=1, command_range=[0.35, 0.2, 0.8])
    table["frames"]["command"] = (
        "vx, vy [m/s] and yaw rate [rad/s] of the base, in its heading frame"
    )


def test_a_policy_of_the_format_before_means_what_it_meant():
    old, new = Controller(tiny_policy(to_format_1), ROBOT), Controller(tiny_policy(), ROBOT)
    assert asdict(old.contract) == asdict(new.contract)
    ours, theirs = (c.act(sample(1), COMMAND, 3) for c in (old, new))
    assert ours.wanted.tobytes() == theirs.wanted.tobytes()


@pytest.mark.parametrize("ranges", [None, "far", [0.5, 0.3], [0.5, 0, 1], [0.5, math.nan, 1.0]])
def test_a_policy_of_the_format_before_with_no_range_is_refused(ranges: object):
    def edit(table: dict) -> None:
        to_format_1(table)
        table["command_range"] = ranges

    with pytest.raises(PolicyError, match=r"command_range: .* allowed is three finite numbers > 0"):
        Controller(tiny_policy(edit), ROBOT)


PUSHING = graph(outputs=("action", "joint_torque"))


def test_a_policy_of_joint_torques_gives_torques():
    controller = Controller(tiny_policy(model=PUSHING), ROBOT)
    decision = controller.act(sample(1), COMMAND, 3)
    assert decision.output == "joint_torque"
    assert decision.wanted == pytest.approx(SCALE * decision.action, abs=1e-6)
    assert controller.contract.kp == HOST.kp.tolist(), "of the loop that the host closes"


def test_torques_may_be_scaled_joint_by_joint_and_golden_pairs_know_how():
    def scaled(value: float) -> Edit:
        return set_to("action_scale", [SCALE] * 11 + [value])

    assert Controller(tiny_policy(scaled(SCALE), PUSHING), ROBOT).contract.action_scale
    with pytest.raises(PolicyError, match=r"'joint_torque' is off by .* from action_scale"):
        Controller(tiny_policy(scaled(0.5), PUSHING), ROBOT)


def test_torques_are_refused_by_motors_that_have_no_torque_mode():
    models = {
        name: replace(model, name="XL430-W250", model_number=1060)
        for name, model in ROBOT.motor_models.items()
    }
    with pytest.raises(PolicyError, match="XL430-W250, which has no torque mode"):
        Controller(tiny_policy(model=PUSHING), replace(ROBOT, motor_models=models))


def test_a_policy_that_needs_an_imu_is_refused_by_a_robot_without_one():
    bolted = replace(ROBOT, imu=None)
    with pytest.raises(PolicyError, match="'gyro'; this robot, without an IMU, gives"):
        Controller(tiny_policy(), bolted)
    blind = graph(widths={name: k for name, k in WIDTHS.items() if name != "gyro"})
    decision = Controller(tiny_policy(model=blind), bolted).act(sample(1), COMMAND, 0)
    assert set(decision.inputs) == set(WIDTHS) - {"gyro"}
