"""The policy as it runs on the robot: one ONNX file, raw sensors in, joint targets or torques out.

Loading checks the whole contract against robot.toml and replays the golden pairs. No torch, no
mujoco.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors  # pyright: ignore

from ..hardware.interface import Sample
from ..models.errors import PolicyError, first_line
from ..models.observation import input_widths
from ..models.robot import Robot
from .contract import KEY, Contract, GoldenPair
from .verdict import Decision

BROKEN_FILE = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    UnicodeDecodeError,  # of names and metadata
)


class Controller:
    """A policy with its memory: the previous action, and the state where it has one.

    Outputs that are not sound leave the memory as it was, so that it may recover from them. Where
    no decision was sound for longer than `hold_after`, the state begins anew: the past that it
    holds does not lead up to the present. The previous action stays, as the joints are held by it.
    """

    def __init__(self, policy: str | Path | bytes, robot: Robot) -> None:
        """Load a policy for a robot.

        Raises:
            PolicyError: the file is no policy, or was made for another robot; both sides are named.
        """
        self.model = read_policy(policy)
        self.sha256 = hashlib.sha256(self.model).hexdigest()
        try:
            self._open(robot)
        except PolicyError as error:
            if isinstance(policy, bytes):
                raise
            raise PolicyError(f"{policy}: {error}") from None

    def _open(self, robot: Robot) -> None:
        self._session = open_session(self.model)
        self.contract = read_contract(self._session)
        self.contract.require_robot(robot)
        self._check_signature(robot)
        self._clock_ticks = round(self.contract.clock_period / robot.control_period)
        self._period = robot.control_period
        self._patience = robot.safety.hold_after  # of the state, without a sound decision [s]
        self._widths = {wire.name: wire.shape[-1] for wire in self._session.get_inputs()}
        self.input_names = list(self._widths)
        outputs = {wire.name: wire.shape[-1] for wire in self._session.get_outputs()}
        self._outputs = list(outputs)
        self._has_state = "state" in self.input_names
        self._initial_state = np.asarray(self.contract.initial_state or [], np.float32)
        judged = ["action", self.contract.output, *(["next_state"] if self._has_state else [])]
        self._judged = {name: outputs[name] for name in judged}
        self.reset()
        self._replay_golden_pairs()

    def reset(self) -> None:
        """Forget the past: to be called when a run begins."""
        self._previous_action = np.zeros(len(self.contract.joints), np.float32)
        self._state = self._initial_state
        self._remembered: int | None = None  # tick of the last sound decision

    def act(self, sample: Sample, command: np.ndarray, tick: int) -> Decision:
        """One decision. `tick` counts control periods since RUN began, skipped ones included.

        Raises:
            PolicyError: see `decide`.
        """
        inputs = {
            "joint_pos": sample.joint_pos,
            "joint_vel": sample.joint_vel,
            "gyro": sample.gyro,
            "gravity": sample.gravity,
            "contact_force": sample.contact_force,
            "command": command,
            "previous_action": self._previous_action,
            "clock": np.array([tick % self._clock_ticks * self._period]),
        }
        return self.decide(inputs, tick)

    def decide(self, inputs: Mapping[str, np.ndarray], tick: int) -> Decision:
        """One decision on inputs by name, each (width,), and on the state as it is remembered.

        `tick` counts control periods, from wherever.

        Raises:
            PolicyError: an input has another width than the policy takes, or it cannot be run on
                such inputs.
        """
        if self._remembered is not None:
            without = (tick - self._remembered - 1) * self._period
            if without > self._patience:
                self._state = self._initial_state
        inputs = {**inputs, "state": self._state}
        for name, width in self._widths.items():
            if inputs[name].shape != (width,):
                raise PolicyError(
                    f"input '{name}': found shape {inputs[name].shape}, the policy takes ({width},)"
                )
        asked = {name: np.asarray(inputs[name], np.float32) for name in self.input_names}
        try:
            outputs = self.infer(asked)
        except BROKEN_FILE as error:
            raise PolicyError(f"the policy cannot be run: {first_line(error)}") from None
        if self.sound(outputs):  # else it would spoil every decision after it
            self._previous_action, self._remembered = outputs["action"], tick
            if self._has_state:
                self._state = outputs["next_state"]
        output = self.contract.output
        wanted = outputs[output].astype(np.float64)
        next_state = outputs["next_state"] if self._has_state else None
        return Decision(asked, outputs["action"], wanted, output, next_state)

    def sound(self, outputs: Mapping[str, np.ndarray]) -> bool:
        """Whether outputs, each (width,), may be remembered: as wide as declared, finite."""
        return all(
            outputs[name].shape == (width,) and bool(np.isfinite(outputs[name]).all())
            for name, width in self._judged.items()
        )

    def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The bare graph on one set of inputs, each of shape (width,); so are the outputs."""
        rows = {name: np.asarray(v, np.float32)[None] for name, v in inputs.items()}
        return {name: value[0] for name, value in self.infer_batch(rows).items()}

    def infer_batch(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The bare graph on N sets of float32 inputs, each (N, width); so are the outputs."""
        outputs = self._session.run(None, {name: inputs[name] for name in self.input_names})
        return dict(zip(self._outputs, cast("list[np.ndarray]", outputs), strict=True))

    def _check_signature(self, robot: Robot) -> None:
        n = len(robot.joints)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        given = input_widths(robot, len(self.contract.commands))
        taken = {"action": n, self.contract.output: n}
        if self.contract.initial_state is not None:
            given["state"] = taken["next_state"] = len(self.contract.initial_state)
        for wire in inputs:
            if wire.name not in given:
                gives = f"this robot{'' if robot.imu else ', without an IMU,'} gives"
                raise PolicyError(
                    f"the policy asks for input '{wire.name}'; {gives} {', '.join(given)}"
                )
        named = {term["input"] for term in self.contract.terms}
        asked = {wire.name for wire in inputs} - {"state"}
        if named != asked:
            raise PolicyError(
                f"terms: the contract names the inputs {_listed(named)}, the graph asks for "
                f"{_listed(asked)}"
            )
        names = [wire.name for wire in outputs]
        for name in taken:
            if name not in names:
                raise PolicyError(
                    f"output '{name}' is missing in the policy, which has {', '.join(names)}"
                )
        for kind, wires, widths in (("input", inputs, given), ("output", outputs, taken)):
            for wire in wires:
                width = wire.shape[-1] if len(wire.shape) == 2 else f"of shape {wire.shape}"
                if wire.name in widths and width != widths[wire.name]:
                    raise PolicyError(
                        f"{kind} '{wire.name}' is {width} wide in the policy, "
                        f"{widths[wire.name]} on this robot"
                    )
                if wire.type != "tensor(float)":
                    raise PolicyError(
                        f"{kind} '{wire.name}' is {wire.type}, allowed is tensor(float)"
                    )

    def _replay_golden_pairs(self) -> None:
        contract = self.contract
        if not contract.golden:
            raise PolicyError("the policy has no golden pairs; export it again")
        for index, pair in enumerate(contract.golden):
            where = f"golden pair {index}"
            self._check_golden_pair(where, pair)
            try:
                outputs = self.infer({k: np.asarray(v, np.float32) for k, v in pair.inputs.items()})
            except BROKEN_FILE as error:
                raise PolicyError(f"{where}: it cannot be run: {first_line(error)}") from None
            for name, expected in pair.outputs.items():
                if outputs[name].shape != (len(expected),):
                    raise PolicyError(
                        f"{where}: output '{name}' has shape {outputs[name].shape}, allowed is "
                        f"({len(expected)},)"
                    )
                error = _difference(outputs[name], np.asarray(expected, np.float32))
                if not error <= contract.tolerance:  # a NaN is refused too
                    raise PolicyError(
                        f"{where}: output '{name}' is off by {error:.3g} here, allowed is "
                        f"{contract.tolerance:g}: the file or this ONNX Runtime is broken"
                    )
            law, told = "action_scale · action", np.array(contract.action_scale) * outputs["action"]
            if contract.output == "joint_target":
                law, told = f"default_pose + {law}", np.array(contract.default_pose) + told
            error = _difference(outputs[contract.output], told)
            if not error <= contract.tolerance:
                raise PolicyError(
                    f"{where}: output '{contract.output}' is off by {error:.3g} from {law}, with "
                    f"action_scale = {contract.action_scale}, allowed is {contract.tolerance:g}"
                )
        if self._has_state and not any(map(self._begins, contract.golden)):
            raise PolicyError(
                "golden pairs: found none whose state is the initial_state, allowed is one or "
                "more: every run begins with it"
            )

    def _begins(self, pair: GoldenPair) -> bool:
        """Whether a golden pair, found sound, shows what the policy does where a run begins."""
        return np.array_equal(np.asarray(pair.inputs["state"], np.float32), self._initial_state)

    def _check_golden_pair(self, where: str, pair: GoldenPair) -> None:
        """Refuse vectors that are not the graph's, or not finite."""
        for kind, values, wires in (
            ("inputs", pair.inputs, self._session.get_inputs()),
            ("outputs", pair.outputs, self._session.get_outputs()),
        ):
            found = {name: len(vector) for name, vector in values.items()}
            widths = {wire.name: wire.shape[-1] for wire in wires}
            if found != widths:
                raise PolicyError(f"{where} has the {kind} {found}, the graph has {widths}")
            for name, vector in values.items():
                for number in vector:
                    if not math.isfinite(number):
                        raise PolicyError(
                            f"{where}: '{name}' in its {kind} holds {number}, allowed are "
                            "finite numbers"
                        )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest; NaN where one is none. Shapes (width,)."""
    return float(np.abs(ours - theirs).max())


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def read_policy(policy: str | Path | bytes) -> bytes:
    """The file's bytes. Raises PolicyError where there is no such file."""
    if isinstance(policy, bytes):
        return policy
    path = Path(policy)
    if not path.is_file():
        raise PolicyError(f"there is no policy file '{policy}'")
    try:
        return path.read_bytes()
    except OSError as error:
        raise PolicyError(f"{policy}: cannot be read: {error.strerror}") from None


def open_session(model: bytes) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on one thread that doesn't spin. Raises PolicyError."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # its errors are exceptions; a terminal may be stopped
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        # Names and metadata are decoded only as they are read: once here, for what is no text.
        _ = session.get_modelmeta().custom_metadata_map
        _ = [(w.name, w.shape) for w in (*session.get_inputs(), *session.get_outputs())]
        return session
    except BROKEN_FILE as error:
        reason = first_line(error)
        raise PolicyError(f"not a policy that ONNX Runtime can load: {reason}") from None


def read_contract(session: onnxruntime.InferenceSession) -> Contract:
    """The contract in the file's metadata. Raises PolicyError."""
    metadata = session.get_modelmeta().custom_metadata_map
    if KEY not in metadata:
        raise PolicyError("the ONNX file carries no Surefoot contract: use surefoot export")
    return Contract.from_json(metadata[KEY])
