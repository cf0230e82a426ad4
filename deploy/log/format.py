"""What a log holds: one declaration of a control tick, and the formats that follow from it.

`FIELDS` is the only place that names the fields of a tick, with `CONTACT_FORCE` behind them where
the robot has contact sensors. From it follow

- `tick_dtype`: the numpy record that the loop fills and the reader returns,
- `tick_schema`: the protobuf message `surefoot.Tick`, for Foxglove and every other reader,
- `encode_tick`, `is_tick` and `decode_ticks`: between the two.

The protobuf wire format (https://protobuf.dev/programming-guides/encoding/) writes floats, doubles,
fixed32 and packed arrays of them as raw little-endian bytes after a key. So with all fields present
a message is itself a record of fixed layout, and every float keeps its bits, NaN payloads included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

import numpy as np
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

FORMAT = "2"  # of the log; a reader refuses any other
TICK_TOPIC, JOINTS_TOPIC, LOG_TOPIC = "/tick", "/joint_states", "/log"
TICK_MESSAGE = "surefoot.Tick"
RESERVED = ("log", "versions", "sha256", "end")  # names of metadata that the log itself writes
ROBOT_FILE, POLICY_FILE = "robot.toml", "policy.onnx"  # names of what is attached for a replay


class Level(IntEnum):
    """Severity of an event, as in foxglove.Log."""

    DEBUG = 1
    INFO = 2
    WARNING = 3
    ERROR = 4
    FATAL = 5


@dataclass(frozen=True)
class Field:
    """One field of a tick."""

    name: str
    dtype: str  # numpy, little-endian
    width: int | str  # 1 a scalar, 3 a vector; one per: "n" joint, "c" command part, "s" sensor
    unit: str  # "" where there is none
    meaning: str

    def shape(self, n: int, c: int, s: int) -> tuple[int, ...]:
        """() for a scalar, else (width,): n joints, a command of c parts, s contact sensors."""
        widths = {"n": n, "c": c, "s": s}
        width = widths[self.width] if isinstance(self.width, str) else self.width
        return () if self.width == 1 else (width,)


FIELDS = (
    Field("tick", "<u4", 1, "", "number of the control tick, skipped ones counted"),
    Field("state", "u1", 1, "", "state of the safety supervisor"),
    Field("mode", "u1", 1, "", "mode commanded: 0 off, 1 damp, 2 hold, 3 track, 4 torque"),
    Field("deadline", "<f8", 1, "s", "when the tick was due, on the loop's clock"),
    Field("start", "<f8", 1, "s", "when it began"),
    Field("read", "<f8", 1, "s", "when the sensors were read"),
    Field("inferred", "<f8", 1, "s", "when the policy had answered; `read` where it was not asked"),
    Field("written", "<f8", 1, "s", "when the command was written"),
    Field("missed", "<u4", 1, "", "deadlines missed so far"),
    Field("joint_pos", "<f4", "n", "rad", "measured joint angle"),
    Field("joint_vel", "<f4", "n", "rad/s", "measured joint velocity"),
    Field("joint_torque", "<f4", "n", "N·m", "joint torque, from the motor current"),
    Field("age", "<f4", "n", "s", "age of the motor's values"),
    Field("alert", "u1", "n", "", "1 where the motor reports a hardware error"),
    Field("gyro", "<f4", 3, "rad/s", "angular velocity in the base frame"),
    Field("gravity", "<f4", 3, "", "unit vector pointing down, in the base frame"),
    Field("acceleration", "<f4", 3, "m/s²", "specific force in the base frame"),
    Field("imu_age", "<f4", 1, "s", "age of the IMU's values"),
    Field("command", "<f4", "c", "", "command to the policy; the head names parts and units"),
    Field("clock", "<f4", 1, "s", "the policy's clock"),
    Field("previous_action", "<f4", "n", "", "action before, as the policy was given it"),
    Field("action", "<f4", "n", "", "action of the policy"),
    Field("joint_target", "<f4", "n", "rad", "joint target of the policy, before the limits"),
    Field("limited_target", "<f4", "n", "rad", "joint target after the limits, as commanded"),
    Field("wanted_torque", "<f4", "n", "N·m", "joint torque of the policy, before the limits"),
    Field("limited_torque", "<f4", "n", "N·m", "joint torque after the limits, as commanded"),
    Field("torque_cap", "<f4", "n", "N·m", "torque cap commanded"),
    Field("reasons", "u1", "n", "", "limits that acted: 1 rate, 2 torque, 4 position, 8 velocity"),
    Field("voltage", "<f4", "n", "V", "supply voltage at the motor, of the slow read"),
    Field("temperature", "<f4", "n", "°C", "temperature of the motor, of the slow read"),
    Field("error_bits", "u1", "n", "", "hardware error status of the motor, of the slow read"),
    Field("watchdog_tripped", "u1", "n", "", "1 where the motor's own watchdog has stopped it"),
    Field("bus_time", "<f4", 1, "s", "time spent on the motor bus"),
    Field("wire_errors", "<u4", 1, "", "refused packets and missing replies so far"),
    Field("fault", "u1", 1, "", "fault of the safety supervisor, 0 for none"),
)
CONTACT_FORCE = Field("contact_force", "<f4", "s", "N", "force on each contact sensor")


def fields_of(s: int) -> tuple[Field, ...]:
    """Of a tick of a robot with s contact sensors: without any, there is no empty field."""
    return (*FIELDS, CONTACT_FORCE) if s else FIELDS


@cache
def tick_dtype(n: int, c: int, s: int = 0) -> np.dtype:
    """The record of a control tick: n joints, a command of c parts, s contact sensors."""
    return np.dtype([(field.name, field.dtype, field.shape(n, c, s)) for field in fields_of(s)])


def tick_widths(dtype: np.dtype) -> tuple[int, int, int]:
    """Of a `tick_dtype`: joints, parts of the command, contact sensors."""
    sensors = CONTACT_FORCE.name in (dtype.names or ())
    names = ("joint_pos", "command", *([CONTACT_FORCE.name] if sensors else []))
    n, c, *s = (dtype[name].shape[0] for name in names)
    return n, c, s[0] if s else 0


# --- protobuf ---------------------------------------------------------------------------------

_PROTO_TYPE = {
    "<f4": FieldDescriptorProto.TYPE_FLOAT,
    "<f8": FieldDescriptorProto.TYPE_DOUBLE,
    "<u4": FieldDescriptorProto.TYPE_FIXED32,
    "u1": FieldDescriptorProto.TYPE_FIXED32,
}
_WIRE_DTYPE = {"<f4": "<f4", "<f8": "<f8", "<u4": "<u4", "u1": "<u4"}
_FIXED64, _LENGTH_DELIMITED, _FIXED32 = 1, 2, 5  # wire types


def tick_schema(s: int = 0) -> FileDescriptorSet:
    """The protobuf schema of `surefoot.Tick`, with unit and meaning as comments of each field."""
    file = FileDescriptorProto(name="surefoot/Tick.proto", package="surefoot", syntax="proto3")
    message = file.message_type.add(name="Tick")
    for index, field in enumerate(fields_of(s)):
        repeated = field.width != 1
        message.field.add(
            name=field.name,
            number=index + 1,
            type=_PROTO_TYPE[field.dtype],
            label=FieldDescriptorProto.LABEL_REPEATED
            if repeated
            else FieldDescriptorProto.LABEL_OPTIONAL,
        )
        unit = f" [{field.unit}]" if field.unit else ""
        file.source_code_info.location.add(
            path=[4, 0, 2, index],  # message 0, field `index`
            span=[index, 0, 0],
            leading_comments=f"{field.meaning}{unit}",
        )
    return FileDescriptorSet(file=[file])


def encode_tick(record: np.ndarray | np.void) -> bytes:
    """One record of `tick_dtype` as a `surefoot.Tick`."""
    wire = _wire_template(*tick_widths(record.dtype)).copy()
    for name in record.dtype.names or ():
        wire[name] = record[name]
    return wire.tobytes()


def is_tick(message: bytes, n: int, c: int, s: int = 0) -> bool:
    """Whether a message has the layout that `encode_tick` gives records of such a `tick_dtype`."""
    template, positions = _wire_template(n, c, s), _key_positions(n, c, s)
    if len(message) != template.nbytes:
        return False
    keys = np.frombuffer(template.tobytes(), np.uint8)[positions]
    return bool((np.frombuffer(message, np.uint8)[positions] == keys).all())


def decode_ticks(messages: Sequence[bytes], n: int, c: int, s: int = 0) -> np.ndarray:
    """Messages that satisfy `is_tick` as records of `tick_dtype(n, c, s)`. Shape (T,)."""
    wire = np.frombuffer(b"".join(messages), _wire_template(n, c, s).dtype)
    ticks = np.empty(len(messages), tick_dtype(n, c, s))
    for field in fields_of(s):
        ticks[field.name] = wire[field.name]
    return ticks


def same_fields(schema: bytes) -> bool:
    """Whether a serialised `surefoot.Tick` schema has today's fields; their comments may differ."""
    theirs, *ours = FileDescriptorSet.FromString(schema), tick_schema(), tick_schema(1)
    for part in (theirs, *ours):
        part.file[0].ClearField("source_code_info")
    return theirs in ours


@cache
def _wire_template(n: int, c: int, s: int) -> np.ndarray:
    """A message of such widths whose values are 0: keys and lengths are constant. Shape ()."""
    fields = fields_of(s)
    shapes = {field.name: field.shape(n, c, s) for field in fields}
    keys = {f.name: _key(index + 1, f, shapes[f.name]) for index, f in enumerate(fields)}
    layout = []
    for field in fields:
        layout.append((_key_name(field), "u1", (len(keys[field.name]),)))
        layout.append((field.name, _WIRE_DTYPE[field.dtype], shapes[field.name]))
    template = np.zeros((), np.dtype(layout))
    for field in fields:
        template[_key_name(field)] = list(keys[field.name])
    return template


@cache
def _key_positions(n: int, c: int, s: int) -> np.ndarray:
    """Where in a message of such widths the bytes of the keys are."""
    mask = np.zeros((), _wire_template(n, c, s).dtype)
    for field in fields_of(s):
        mask[_key_name(field)] = 1
    return np.flatnonzero(np.frombuffer(mask.tobytes(), np.uint8))


def _key_name(field: Field) -> str:
    return f"{field.name} key"


def _key(number: int, field: Field, shape: tuple[int, ...]) -> bytes:
    """The bytes before a field's values: number and wire type, and the length of an array."""
    size = np.dtype(_WIRE_DTYPE[field.dtype]).itemsize
    if shape:
        return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(size * shape[0])
    return _varint(number << 3 | (_FIXED64 if size == 8 else _FIXED32))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
