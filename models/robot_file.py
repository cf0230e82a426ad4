"""Reading robot.toml: from its text to a `Robot`, or one line that says what is wrong.

A bad file is refused with the key, the value found and what is allowed.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from .errors import RobotFileError
from .robot import (
    IMU_PROTOCOLS,
    MOTOR_PROTOCOLS,
    PROTOCOLS,
    Bus,
    ContactSensor,
    Imu,
    Joint,
    Motor,
    MotorModel,
    Robot,
    Safety,
)

MODELS = Path(__file__).parent
FORMAT = 1
MARGIN = 0.1  # that a joint may lie beyond either soft limit and be read aright [rad]


def available_robots() -> list[str]:
    """Names of the robots that Surefoot ships."""
    return sorted(path.parent.name for path in MODELS.glob("*/robot.toml"))


def load_robot(name_or_path: str | Path) -> Robot:
    """Read a robot by its shipped name (`quadruped`) or by the path of its robot.toml or folder.

    Raises:
        RobotFileError: the file is missing, is not TOML, or describes no possible robot.
    """
    path = Path(name_or_path)
    if not path.exists():
        path = MODELS / name_or_path
    if path.is_dir():
        path = path / "robot.toml"
    if not path.is_file():
        raise RobotFileError(
            f"there is no robot '{name_or_path}': give one of {', '.join(available_robots())}, "
            "or the path of a robot.toml"
        )
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise RobotFileError(f"{path}: cannot be read: {error}") from None
    return parse_robot(text, path.parent, source=str(path))


def parse_robot(text: str, directory: Path, source: str = "robot.toml") -> Robot:
    """Build a robot from the text of a robot.toml; `directory` is where its MJCF lies.

    Raises:
        RobotFileError: with the source, the key, the value found and what is allowed.
    """
    try:
        table = tomllib.loads(text)
        return _robot(table, directory, text)
    except tomllib.TOMLDecodeError as error:
        raise RobotFileError(f"{source}: not TOML: {error}") from None
    except RobotFileError as error:
        raise RobotFileError(f"{source}: {error}") from None


# --- from tables to dataclasses ---------------------------------------------------------------

_TOP = {
    "format": int,
    "name": str,
    "model": str,
    "control_period": float,
    "assumed": list,
    "bus": dict,
    "motor": dict,
    "imu": dict,
    "contact_sensor": list,
    "joint_defaults": dict,
    "joint": list,
    "safety": dict,
}

# Beyond these a protection would never act; robots differ, so they are wide.
_SAFETY_AT_MOST = {
    "tilt_limit": math.pi / 2,  # on its side [rad]
    "start_tolerance": 1.0,  # [rad]
    "stand_time": 30.0,  # [s]
    "damp_after": 1.0,  # [s]
    "missed_deadlines": 100,
    "damp_time": 30.0,  # [s]
    "watchdog": 2.54,  # 127 units of 20 ms of a DYNAMIXEL motor [s]
    "joint_jump": math.pi,  # [rad]
    "frozen_after": 2.0,  # [s]
    "max_temperature": 100.0,  # [°C]
}
_SHORTEST_WATCHDOG = 0.02  # one unit of a DYNAMIXEL motor [s]

T = TypeVar("T")


def _robot(table: dict[str, Any], directory: Path, text: str) -> Robot:
    optional = {"assumed": [], "joint_defaults": {}, "imu": {}, "contact_sensor": []}
    top = _typed({**optional, **table}, _TOP, "")
    _require(top["format"] == FORMAT, "format", top["format"], f"{FORMAT}")
    joint_defaults = top["joint_defaults"]
    joints = []
    for index, entry in enumerate(top["joint"]):
        entry = _table(entry, f"joint[{index}]")
        where = f"joint[{index}] '{entry.get('name', '?')}'"
        motor_defaults = _table(joint_defaults.get("motor", {}), "joint_defaults.motor")
        motor_entry = _table(entry.get("motor", {}), f"{where}.motor")
        motor = _build(Motor, {**motor_defaults, **motor_entry}, f"{where}.motor")
        joints.append(_build(Joint, {**joint_defaults, **entry, "motor": motor}, where))
    robot = Robot(
        name=top["name"],
        directory=directory,
        model=top["model"],
        control_period=top["control_period"],
        assumed=tuple(top["assumed"]),
        buses=_named(Bus, top["bus"], "bus"),
        motor_models=_named(MotorModel, top["motor"], "motor"),
        imu=_build(Imu, top["imu"], "imu") if "imu" in table else None,
        contact_sensors=tuple(
            _build(ContactSensor, _table(entry, f"contact_sensor[{i}]"), f"contact_sensor[{i}]")
            for i, entry in enumerate(top["contact_sensor"])
        ),
        joints=tuple(joints),
        safety=_build(Safety, top["safety"], "safety"),
        toml=text,
    )
    _check(robot)
    return robot


def _named(cls: type[T], tables: Mapping[str, Any], where: str) -> dict[str, T]:
    """One `cls` for each table, named by its key."""
    return {
        name: _build(cls, {**_table(table, f"{where}.{name}"), "name": name}, f"{where}.{name}")
        for name, table in tables.items()
    }


def _table(value: Any, where: str) -> dict[str, Any]:
    _require(isinstance(value, dict), where, value, "a table")
    return value


def _build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    hints = get_type_hints(cls)
    kinds = {f.name: hints[f.name] for f in fields(cls) if f.default is MISSING}  # type: ignore[arg-type]
    return cls(**_typed(table, kinds, f"{where}."))


def _typed(table: Mapping[str, Any], kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """`table` with exactly the keys of `kinds`, each of its kind; finite floats."""
    for key in table:
        _require(key in kinds, f"{where}{key}", "an unknown key", f"one of {', '.join(kinds)}")
    for key in kinds:
        _require(key in table, f"{where}{key}", "nothing", "a value: it is missing")
    return {key: _value(table[key], kind, f"{where}{key}") for key, kind in kinds.items()}


def _value(value: Any, kind: Any, where: str) -> Any:
    if kind is float:
        _require(_is_number(value) and math.isfinite(value), where, value, "a finite number")
        return float(value)
    if kind is int:
        whole = _is_number(value) and isinstance(value, int)
        _require(whole, where, value, "a whole number")
        return value
    if getattr(kind, "__origin__", None) is tuple:
        size = len(kind.__args__)
        good = isinstance(value, list) and len(value) == size
        _require(good, where, value, f"{size} numbers")
        return tuple(_value(x, float, where) for x in value)
    _require(isinstance(value, kind), where, value, f"a {kind.__name__}")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(condition: bool, where: str, found: Any, allowed: str) -> None:
    if not condition:
        raise RobotFileError(f"{where}: found {found!r}, allowed is {allowed}")


def _check(robot: Robot) -> None:
    """What the types alone cannot say."""
    _require(robot.control_period > 0, "control_period", robot.control_period, "> 0")
    _require(robot.mjcf.is_file(), "model", robot.model, f"an MJCF file in {robot.directory}")
    for bus in robot.buses.values():
        where = f"bus.{bus.name}"
        _require(bus.protocol in PROTOCOLS, f"{where}.protocol", bus.protocol, _one_of(PROTOCOLS))
        _require(bus.baud_rate > 0, f"{where}.baud_rate", bus.baud_rate, "> 0")
    for model in robot.motor_models.values():
        _positive(model, f"motor.{model.name}")
    _require(bool(robot.joints), "joint", [], "at least one [[joint]]")
    if robot.imu:
        _check_imu(robot, robot.imu)
    _check_contact_sensors(robot)
    _check_safety(robot)
    _check_assumed(robot)
    names: set[str] = set()
    ids: set[tuple[str, int]] = set()
    for index, joint in enumerate(robot.joints):
        _check_joint(robot, joint, f"joint[{index}] '{joint.name}'", names, ids)
        names.add(joint.name)
        ids.add((joint.motor.bus, joint.motor.id))


def _check_imu(robot: Robot, imu: Imu) -> None:
    _check_bus(robot, imu.bus, IMU_PROTOCOLS, "imu.bus")
    norm = math.hypot(*imu.rotation)
    _require(abs(norm - 1) < 1e-6, "imu.rotation", imu.rotation, "a unit quaternion w x y z")
    _require(imu.rate > 0, "imu.rate", imu.rate, "> 0")


def _check_contact_sensors(robot: Robot) -> None:
    names: set[str] = set()
    for index, sensor in enumerate(robot.contact_sensors):
        where = f"contact_sensor[{index}] '{sensor.name}'"
        free = sensor.name not in names
        _require(free, f"{where}.name", sensor.name, "a name that no other contact sensor has")
        _require(sensor.range > 0, f"{where}.range", sensor.range, "> 0")
        _require(sensor.noise >= 0, f"{where}.noise", sensor.noise, ">= 0")
        names.add(sensor.name)


def _check_safety(robot: Robot) -> None:
    """Figures that would switch a protection off, or turn it round, are refused."""
    safety = robot.safety
    _positive(safety, "safety")
    for key, highest in _SAFETY_AT_MOST.items():
        _require(
            getattr(safety, key) <= highest, f"safety.{key}", getattr(safety, key), f"<= {highest}"
        )
    _require(
        safety.hold_after < safety.damp_after,
        "safety.hold_after",
        safety.hold_after,
        f"< damp_after = {safety.damp_after}",
    )
    shortest = max(_SHORTEST_WATCHDOG, 3 * robot.control_period)
    _require(
        safety.watchdog >= shortest - 1e-9,
        "safety.watchdog",
        safety.watchdog,
        f">= {shortest:g}, three control periods and what a device can count",
    )
    for model in robot.motor_models.values():
        _require(
            safety.min_voltage < model.nominal_voltage,
            "safety.min_voltage",
            safety.min_voltage,
            f"< {model.nominal_voltage}, the nominal voltage of {model.name}",
        )


def _check_assumed(robot: Robot) -> None:
    """A word that is no key would mark nothing. `joint.KEY` stands for that of all joints."""
    tables: dict[str, type] = {"joint": Joint, "joint.motor": Motor, "imu": Imu, "safety": Safety}
    tables["contact_sensor"] = ContactSensor
    tables |= {f"bus.{name}": Bus for name in robot.buses}
    tables |= {f"motor.{name}": MotorModel for name in robot.motor_models}
    keys = [f"{table}.{field.name}" for table, cls in tables.items() for field in fields(cls)]
    for word in robot.assumed:
        _require(word in keys, "assumed", word, "a key of this file, such as joint.motor.zero")


def _check_joint(
    robot: Robot, joint: Joint, where: str, names: set[str], ids: set[tuple[str, int]]
) -> None:
    _require(joint.name not in names, f"{where}.name", joint.name, "a name that no joint has yet")
    _require(joint.lower < joint.upper, f"{where}.lower", joint.lower, f"< upper = {joint.upper}")
    for key in ("default", "rest"):
        angle = getattr(joint, key)
        inside = joint.lower <= angle <= joint.upper
        _require(inside, f"{where}.{key}", angle, f"in [{joint.lower}, {joint.upper}]")
    for key in ("torque_limit", "rate_limit", "kp"):
        _require(getattr(joint, key) > 0, f"{where}.{key}", getattr(joint, key), "> 0")
    for key in ("kd", "armature", "friction"):
        _require(getattr(joint, key) >= 0, f"{where}.{key}", getattr(joint, key), ">= 0")
    _check_motor(robot, joint, where, ids)


def _check_motor(robot: Robot, joint: Joint, where: str, ids: set[tuple[str, int]]) -> None:
    motor = joint.motor
    _check_bus(robot, motor.bus, MOTOR_PROTOCOLS, f"{where}.motor.bus")
    models = robot.motor_models
    _require(motor.model in models, f"{where}.motor.model", motor.model, _one_of(models))
    _require(motor.gear > 0, f"{where}.motor.gear", motor.gear, "> 0")
    # A shaft knows its angle within one turn: a joint beyond that would be read a turn off.
    turn = 2 * math.pi / motor.gear
    widest = turn - 2 * MARGIN
    _require(
        joint.upper - joint.lower < widest,
        f"{where}.upper",
        joint.upper,
        f"< lower + {widest:.2f} = {joint.lower + widest:.2f}: at gear {motor.gear:g} the motor "
        f"knows its angle within {turn:.2f} rad, less {MARGIN:g} rad beyond either end",
    )
    fastest = 2 * models[motor.model].no_load_speed / motor.gear
    _require(
        joint.rate_limit <= fastest,
        f"{where}.rate_limit",
        joint.rate_limit,
        f"<= {fastest:.4g}, twice what the motor does without load",
    )
    stall = models[motor.model].stall_torque * motor.gear
    limit = joint.torque_limit
    _require(
        limit <= stall, f"{where}.torque_limit", limit, f"<= {stall}, the motor's stall torque"
    )
    _require(motor.sign in (-1, 1), f"{where}.motor.sign", motor.sign, "1 or -1")
    _require(0 <= motor.id <= 252, f"{where}.motor.id", motor.id, "0 to 252")
    free = (motor.bus, motor.id) not in ids
    _require(free, f"{where}.motor.id", motor.id, f"an id that is free on bus '{motor.bus}'")


def _check_bus(robot: Robot, name: str, protocols: tuple[str, ...], where: str) -> None:
    """Refuse a bus that there is not, or that speaks none of these protocols."""
    _require(name in robot.buses, where, name, _one_of(robot.buses))
    speaks = robot.buses[name].protocol in protocols
    _require(speaks, where, name, f"a bus that speaks {' or '.join(protocols)}")


def _positive(part: Any, where: str) -> None:
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, int | float):
            _require(value > 0, f"{where}.{field.name}", value, "> 0")


def _one_of(names: Any) -> str:
    return f"one of {', '.join(names)}"
