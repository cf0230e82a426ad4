"""The robot behind serial ports: DYNAMIXEL X-series motors and, if it has one, a WitMotion IMU.

What the host cannot see it does not assume: a sync write has no reply, so what matters is written
again or read back, and a tripped watchdog, which refuses goals in silence, is read in turn from
one motor a tick. Reading feeds the watchdog as writing does.

What the devices do by themselves once the link is dead: the manual says that a motor whose bus
watchdog trips "stops", with a velocity mode for an example. What modes 5 and 0 do is unconfirmed;
the goal current of mode 0 goes on pushing until then.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping

import numpy as np

from ..models.errors import DeviceError, EnableRefused, UsageError
from ..models.limits import Output
from ..models.robot import Robot
from .drivers import imu_stream, motor_bus
from .dynamixel.motors import MotorGroup
from .dynamixel.registers import MotorError
from .interface import NO_IMU, Command, Health, Mode, Sample, require_mode, require_shape
from .port import Clock, SerialPort, Transport, open_port

GAIN_REPEATS = 3  # stiffness after DAMP is sent with so many commands: one may get lost


class SerialRobot:
    """`RobotInterface` on one transport for each bus.

    Opening it moves and drops nothing. It writes the motors' indirect addresses, which are RAM and
    command nothing, and not even those where it finds torque on.
    """

    def __init__(
        self,
        description: Robot,
        transports: Mapping[str, Transport],
        clock: Clock = time.monotonic,
        output: Output = "joint_target",
    ) -> None:
        """Find the motors and the IMU, and check them against the description.

        `output` is that of the policy which will drive it: the motors are set up for it.

        Raises:
            RobotFileError: a bus speaks what no driver here speaks.
            DeviceError: one is silent, or not as robot.toml says.
        """
        self.description = description
        self._clock = clock
        self._transports = dict(transports)
        names = dict.fromkeys(joint.motor.bus for joint in description.joints)
        self._output: Output = output
        self._groups = [
            MotorGroup(description, motor_bus(description, name, transports[name], clock), output)
            for name in names
        ]
        self._imu = imu_stream(description, transports, clock)
        if self._imu:
            self._imu.restart()  # what waits is as old as the opening of the motors is long
            self._imu.wait()
        self._mode = Mode.OFF
        self._target = np.zeros(len(description.joints))
        self._gains_due = 0
        self._tick = 0
        self._busy = 0.0
        self._take_bus_time()
        for group in self._groups:
            group.read(self._next_tick())

    @property
    def found_torque_on(self) -> bool:
        """See `RobotInterface.found_torque_on`."""
        return any(group.found_on for group in self._groups)

    @property
    def torque_left_on(self) -> tuple[str, ...]:
        """See `RobotInterface.torque_left_on`. It is taken back when torque is commanded again."""
        return tuple(
            joint.name
            for group in self._groups
            for joint in group.joints
            if joint.motor.id in group.left_on
        )

    def read(self) -> Sample:
        """See `RobotInterface.read`."""
        n = len(self.description.joints)
        tick = self._next_tick()
        joint_pos, joint_vel, joint_torque = np.zeros(n), np.zeros(n), np.zeros(n)
        times, health_times, health = np.zeros(n), np.zeros(n), Health.unknown(n)
        alert, encoder_jump = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
        notes: tuple[str, ...] = ()
        errors = self._imu.errors if self._imu else 0
        self._each(lambda group: group.read(tick))
        for group in self._groups:
            joint_pos[group.index], joint_vel[group.index] = group.joint_pos, group.joint_vel
            joint_torque[group.index], times[group.index] = group.joint_torque, group.time
            alert[group.index], encoder_jump[group.index] = group.alert, group.encoder_jump
            health_times[group.index] = group.health_time
            health.voltage[group.index] = group.health.voltage
            health.temperature[group.index] = group.health.temperature
            health.error_bits[group.index] = group.health.error_bits
            health.watchdog_tripped[group.index] = group.health.watchdog_tripped
            health.torque_on[group.index] = group.health.torque_on
            errors += group.bus.errors + group.refused
            notes += group.bus.take_notes()
        now = self._clock()
        if self._imu:
            notes += self._imu.poll(now)
        health.age[:] = now - health_times
        return Sample(
            time=now,
            joint_pos=joint_pos,
            joint_vel=joint_vel,
            joint_torque=joint_torque,
            age=now - times,
            alert=alert,
            encoder_jump=encoder_jump,
            **(self._imu.values(now) if self._imu else NO_IMU),
            health=health,
            bus_time=self._take_bus_time(),
            wire_errors=errors,
            wire_notes=notes,
        )

    def write(self, command: Command) -> None:
        """See `RobotInterface.write`.

        Targets go to the device as they are given: limits are the safety monitor's. A command
        without `torque_cap` has the torque limits of robot.toml for its caps. DAMP sends its gains
        with every command: a line that was dead when damping began must not leave the robot stiff.
        HOLD after DAMP holds where the robot has sunk to, and as the first command where it lies; a
        motor that misses the stiffness then stays damped, and the slow read tells. Motors driven by
        torques are damped by the host, on readings of this period alone (`MotorGroup.damp`).

        Raises:
            UsageError, EnableRefused, DeviceError: see `RobotInterface.write`.
        """
        require_mode(command, self._output)
        require_shape(command, len(self.description.joints))
        cap = command.torque_cap
        torque_cap = self.description.torque_limit if cap is None else cap
        if command.mode == Mode.OFF:
            self._off()
            return
        damp = command.mode == Mode.DAMP
        if self._mode == Mode.OFF:
            self._enable(command.mode, torque_cap)
        elif self._mode == Mode.DAMP and not damp:
            self._gains_due = GAIN_REPEATS
            if command.mode == Mode.HOLD:
                self._hold_here()
        self._mode = command.mode
        if self._output == "joint_torque":
            self._push(command, torque_cap)
            return
        if command.mode == Mode.TRACK and command.target is not None:
            self._target = command.target.copy()
        gains_due, self._gains_due = self._gains_due > 0, max(0, self._gains_due - 1)

        def send(group: MotorGroup) -> None:
            # Softer gains go before the goal and stiffer ones after it: no pull to an old goal.
            if damp:
                group.write_gains(command.mode)
            group.write_goals(self._target[group.index], torque_cap[group.index])
            if gains_due and not damp:
                group.write_gains(command.mode)

        self._each(send)

    def refresh(self) -> None:
        """See `RobotInterface.refresh`. It takes about 0.3 s, most of it the IMU's rate."""
        if self._imu:
            self._imu.restart()
            self._imu.listen()
        self._each(MotorGroup.read_health)
        tick = self._next_tick()
        self._each(lambda group: group.read(tick))
        self._take_bus_time()

    def close(self) -> None:
        """See `RobotInterface.close`."""
        for transport in self._transports.values():
            transport.close()

    def _push(self, command: Command, torque_cap: np.ndarray) -> None:
        tick = self._next_tick()

        def send(group: MotorGroup) -> None:
            cap = torque_cap[group.index]
            if command.torque is None:
                group.damp(cap, tick)
            else:
                group.write_torques(command.torque[group.index], cap)

        self._each(send)

    def _enable(self, mode: Mode, torque_cap: np.ndarray) -> None:
        try:
            for group in self._groups:
                if on := group.torque_on():
                    raise EnableRefused(
                        f"bus '{group.bus.name}': torque is on already (ID "
                        f"{', '.join(map(str, on))}): support the robot and switch it off first"
                    )
            for group in self._groups:
                self._target[group.index] = group.prepare(mode, torque_cap[group.index])
            # No bus's watchdog waits for the preparing of another.
            for group in self._groups:
                group.enable()
        except DeviceError as error:
            # Only what was switched on here: a robot that stands by another's torque would fall.
            for group in self._groups:
                if group.powered:
                    with contextlib.suppress(DeviceError):  # `left_on` keeps it
                        group.disable()
            if isinstance(error, MotorError):
                raise EnableRefused(str(error)) from None
            raise
        self._gains_due = 0

    def _hold_here(self) -> None:
        for group in self._groups:
            self._target[group.index] = group.joint_pos

    def _off(self) -> None:
        self._mode = Mode.OFF
        self._each(MotorGroup.disable)

    def _each(self, act: Callable[[MotorGroup], None]) -> None:
        """Act on every bus, then raise what the first of them raised.

        A bus that is dead must not keep DAMP and OFF from the motors on another.
        """
        errors: list[DeviceError] = []
        for group in self._groups:
            try:
                act(group)
            except DeviceError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick

    def _take_bus_time(self) -> float:
        """Time on the motor buses since the last call [s]."""
        before, self._busy = self._busy, sum(group.bus.busy for group in self._groups)
        return self._busy - before


def open_robot(
    description: Robot,
    ports: Mapping[str, str] | None = None,
    clock: Clock = time.monotonic,
    output: Output = "joint_target",
) -> SerialRobot:
    """Open the robot on its serial ports, without moving it.

    Args:
        description: what robot.toml says.
        ports: device of each bus that is not on the port of robot.toml.
        clock: [s], monotonic, the loop's.
        output: of the policy that will drive it.

    Raises:
        RobotFileError: a bus speaks what no driver here speaks.
        DeviceError: a port, motor or IMU is missing, busy or not as robot.toml says.
        UsageError: `ports` names a bus that the robot does not have.
    """
    ports = ports or {}
    unknown = [name for name in ports if name not in description.buses]
    if unknown:
        allowed = ", ".join(description.buses)
        raise UsageError(f"ports: found bus '{unknown[0]}', allowed is one of {allowed}")
    used = {joint.motor.bus for joint in description.joints}
    used |= {description.imu.bus} if description.imu else set()
    transports: dict[str, SerialPort] = {}
    try:
        for name in sorted(used):
            transports[name] = open_port(description.buses[name], ports, clock)
        return SerialRobot(description, transports, clock, output)
    except BaseException:
        for transport in transports.values():
            transport.close()
        raise
