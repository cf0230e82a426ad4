"""What a robot's motors can be driven by: every motor follows targets, some push with torques."""

from __future__ import annotations

from ..models.limits import Output
from ..models.robot import Robot
from .dynamixel.xseries import WITHOUT_CURRENT


def why_not(robot: Robot, output: Output) -> str:
    """Why a robot cannot be driven by such an output of a policy, one line; '' if it can.

    A torque mode is a current mode: a motor that does not measure its current has none. The loop
    that holds and damps is then the host's, whose gains come from the rotor's inertia.
    """
    if output == "joint_target":
        return ""
    for joint in robot.joints:
        model = robot.motor_models[joint.motor.model]
        if model.model_number in WITHOUT_CURRENT:
            return (
                f"{output}: the motor of {joint.name} is an {model.name}, which has no torque "
                "mode; allowed is joint_target, or motors with current control (mode 0)"
            )
        if joint.armature <= 0:
            return (
                f"{output}: found armature {joint.armature:g} of {joint.name}, allowed is > 0: "
                "the host holds and damps as firmly as the rotor's inertia lets it"
            )
    return ""
