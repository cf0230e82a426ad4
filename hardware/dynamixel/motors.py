"""The motors of one bus: opened without moving them, read, told their goals, enabled, let go."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...models.limits import Limits, Output
from ...models.robot import Robot
from ..interface import Health, Mode
from . import xseries as x
from .bus import MotorBus
from .goals import Goals
from .health import HealthReader
from .layout import FEEDBACK, GOAL, INDIRECT, TORQUE_GOAL, WINDOWS, check_bus_time
from .plausibility import allowed_jump, judge
from .protocol import ALERT, Block
from .registers import TRIES, MotorRegisters
from .units import MotorUnits

RUN_PATIENCE = 0.4  # of a control period: waited for a late reply in the loop
MIN_PATIENCE = 0.003  # [s]
VELOCITY_MARGIN = 3.0  # times the no-load speed: beyond it a reading is refused


class MotorGroup:
    """m motors on one bus. `index` says which of the robot's joints they move; arrays are (m,)."""

    def __init__(self, description: Robot, bus: MotorBus, output: Output = "joint_target") -> None:
        """Find the motors and check them, without moving or dropping anything.

        For joint targets they are in mode 5, for joint torques in mode 0.

        Raises:
            DeviceError: a motor is silent, or not as robot.toml says.
        """
        self.bus = bus
        self.index = np.array(
            [i for i, j in enumerate(description.joints) if j.motor.bus == bus.name]
        )
        self.joints = [description.joints[i] for i in self.index]
        self.models = [description.motor_models[joint.motor.model] for joint in self.joints]
        self.ids = [joint.motor.id for joint in self.joints]
        self.units = MotorUnits(self.joints, self.models)
        m = len(self.ids)
        self.joint_pos, self.joint_vel = np.zeros(m), np.zeros(m)
        self.joint_torque = np.zeros(m)
        self.time = np.full(m, -math.inf)  # of the values above [s]
        self.alert = np.zeros(m, dtype=bool)
        self.refused = 0  # implausible readings so far
        self.powered = False  # torque was switched on from here, and not yet off again
        self.left_on: tuple[int, ...] = ()  # IDs whose torque the last `disable` did not see off
        self._description = description
        self._registers = MotorRegisters(bus, self.joints)
        self._row = {id: row for row, id in enumerate(self.ids)}
        self._misses = dict.fromkeys(self.ids, 0)  # in a row
        self._refused_in_a_row = np.zeros(m, dtype=np.int64)
        self._slow = HealthReader(bus, self.ids)
        ticks = math.ceil(description.safety.watchdog / x.WATCHDOG_UNIT - 1e-9)
        self._watchdog = min(max(ticks, 1), x.WATCHDOG_MAX)
        self._torques = output == "joint_torque"
        # Of the loop that the host closes in mode 0 [N·m·s/rad]
        bearable = Limits.of(description, output).kd[self.index]
        self._host_damping = np.minimum(description.safety.damping, bearable)
        self._goals = Goals(self.joints, description.safety, self.units, output)
        mode = x.OperatingMode.CURRENT if self._torques else x.OperatingMode.CURRENT_BASED_POSITION
        self._registers.check_setup(self.models, mode)
        bus.return_delay = max(self._registers.read(x.RETURN_DELAY).values()) * x.RETURN_DELAY_UNIT
        self._fast = self._answers_fast()
        check_bus_time(bus, m, self._fast, description.control_period)
        self.found_on = self.torque_on()
        if not self.found_on:
            self._set_indirect()
        else:
            ids = ", ".join(map(str, self.found_on))
            bus.note(f"found torque on (ID {ids}): left as it is until OFF is commanded")
        self._goals.current_limit = self._column(self._registers.read(x.CURRENT_LIMIT))
        self._pwm_limit = self._registers.read(x.PWM_LIMIT)
        counts = self._column(self._registers.read(x.PRESENT_POSITION))
        self.units.find_turns(counts)
        self.joint_pos = self.units.joint_pos(counts)
        bus.patience = max(MIN_PATIENCE, RUN_PATIENCE * description.control_period)

    # --- opening ----------------------------------------------------------------------------

    def _answers_fast(self) -> bool:
        for _ in range(TRIES):
            if len(self.bus.fast_sync_read(self.ids, *WINDOWS[0])) == len(self.ids):
                return True
        self.bus.note("some motor answers no fast sync read: plain sync reads are used")
        return False

    # --- reading ----------------------------------------------------------------------------

    @property
    def health(self) -> Health:
        """What the slow reads have gathered; its ages are not filled in."""
        return self._slow.health

    @property
    def health_time(self) -> np.ndarray:
        """When each motor's health was read; -inf before the first [s]."""
        return self._slow.time

    @property
    def encoder_jump(self) -> np.ndarray:
        """The last two readings or more were implausible."""
        return self._refused_in_a_row >= 2

    def read(self, tick: int) -> None:
        """Read all motors, and of one what changes slowly. What is missing keeps its old values.

        Args:
            tick: number of this read; consecutive ones ask for different lengths.
        """
        address, length = WINDOWS[tick % 2]
        # A silent motor cuts off those behind it, so it is asked last; and only once a tick.
        order = sorted(self.ids, key=lambda id: self._misses[id] > 0)
        read = self.bus.fast_sync_read if self._fast else self.bus.sync_read
        asked = self.bus.clock()
        replies = read(order, address, length)
        self._take(replies, length, asked)
        again = [id for id in order if id not in replies and not self._misses[id]]
        # Where nothing at all came, asking again would only cost this tick its time.
        if self._fast and again and self.bus.heard:
            asked = self.bus.clock()
            rest = self.bus.sync_read(again, address, length)
            self._take(rest, length, asked)
            replies |= rest
        for id in self.ids:
            self._misses[id] = 0 if id in replies else self._misses[id] + 1
        answering = [row for row, id in enumerate(self.ids) if not self._misses[id]]
        self._slow.read_alerts(answering, self.alert)
        self._slow.read_next(answering)

    def read_health(self) -> None:
        """Read what changes slowly of all motors now, one after the other."""
        self._slow.read_all()

    def _take(self, replies: Mapping[int, Block], length: int, now: float) -> None:
        """Turn replies into joint values, refusing what no robot does."""
        m = len(self.ids)
        raw = np.zeros((m, 3), dtype=np.int64)
        good = np.zeros(m, dtype=bool)
        for id, block in replies.items():
            row = self._row[id]
            self.alert[row] = bool(block.error & ALERT)
            if len(block.data) == length:
                raw[row] = FEEDBACK.unpack(block.data[-FEEDBACK.size :])
                good[row] = True
        torque, velocity = self.units.joint_torque(raw[:, 0]), self.units.joint_vel(raw[:, 1])
        position = self.units.joint_pos(raw[:, 2])
        for row in np.flatnonzero(good).tolist():
            turn = self.units.turn[row]
            no_load_speed = self.models[row].no_load_speed / self.units.gear[row]
            elapsed = now - self.time[row]
            joint_jump = self._description.safety.joint_jump
            verdict = judge(
                velocity=velocity[row],
                jump=position[row] - self.joint_pos[row],
                top_velocity=VELOCITY_MARGIN * no_load_speed,
                allowed_jump=allowed_jump(joint_jump, elapsed, no_load_speed, turn),
                turn=turn,
                powered=self.powered,
            )
            good[row] = verdict.good
            self._refused_in_a_row[row] = 0 if verdict.good else self._refused_in_a_row[row] + 1
            if verdict.turns:
                # The device has lost or won whole turns; its goals count from there too.
                self.units.turns[row] -= round(self.units.sign[row] * verdict.turns)
                position[row] -= verdict.turns * turn
            if verdict.reason:
                self.refused += 1
                who = f"{self.joints[row].name} (ID {self.ids[row]})"
                self.bus.note(f"{who}: implausible {verdict.reason}")
        self.joint_pos[good], self.joint_vel[good] = position[good], velocity[good]
        self.joint_torque[good], self.time[good] = torque[good], now

    # --- writing ----------------------------------------------------------------------------

    def write_goals(self, target: np.ndarray, torque_cap: np.ndarray) -> None:
        """Send joint targets [rad] and torque caps [N·m], in one packet."""
        self.bus.sync_write(x.INDIRECT_DATA, GOAL.size, self._goals.targets(target, torque_cap))

    def write_torques(self, torque: np.ndarray, torque_cap: np.ndarray) -> None:
        """Send joint torques, within caps [N·m], to motors in mode 0."""
        goals = self._goals.torques(np.clip(torque, -torque_cap, torque_cap))
        self.bus.sync_write(x.GOAL_CURRENT.address, TORQUE_GOAL.size, goals)

    def damp(self, torque_cap: np.ndarray, tick: int) -> None:
        """Resist motion by torques against the velocities, within caps [N·m], in mode 0.

        The velocities are read anew where the last reading is older than a control period. Who does
        not answer gets no torque: against an old velocity it might as well drive the joint.
        """
        period = self._description.control_period
        if (self.bus.clock() - self.time > period).any():
            self.read(tick)
        known = self.bus.clock() - self.time <= period
        self.write_torques(np.where(known, -self._host_damping * self.joint_vel, 0.0), torque_cap)

    def write_gains(self, mode: Mode) -> None:
        """Send the gains of a mode, in mode 5: damping alone for DAMP."""
        self.bus.sync_write(x.POSITION_D_GAIN.address, 6, self._gains_of(mode))

    def torque_on(self) -> list[int]:
        """IDs of the motors whose torque is on."""
        return [id for id, on in self._registers.read(x.TORQUE_ENABLE).items() if on]

    def prepare(self, mode: Mode, torque_cap: np.ndarray) -> np.ndarray:
        """All that comes before `enable`: gains, caps, goal := present position, each read back.

        In mode 0 there are no gains, and the goal is no torque.

        Returns:
            The joint angles now, at which motors in mode 5 will hold [rad].

        Raises:
            MotorError: a motor has a hardware error, is silent, or does not take a value.
            DeviceError: the port is gone.
        """
        for id, error in self._registers.read(x.HARDWARE_ERROR).items():
            if error:
                found = f"{error} ({x.HardwareError(error)!r})"
                raise self._registers.error(
                    id, x.HARDWARE_ERROR, found, "0: power-cycle or reboot it"
                )
        put, ids = self._registers.set, self.ids
        no_feedforward = bytes(x.FEEDFORWARD_2ND_GAIN.size + x.FEEDFORWARD_1ST_GAIN.size)
        no_profile = bytes(x.PROFILE_ACCELERATION.size + x.PROFILE_VELOCITY.size)
        pwm = {id: x.pack(x.GOAL_PWM, limit) for id, limit in self._pwm_limit.items()}
        # A tripped watchdog refuses goals until it is cleared.
        put(x.BUS_WATCHDOG.address, dict.fromkeys(ids, b"\x00"), "bus watchdog")
        self._set_indirect()
        if not self._torques:
            put(x.POSITION_D_GAIN.address, self._gains_of(mode), "position gains")
        put(x.FEEDFORWARD_2ND_GAIN.address, dict.fromkeys(ids, no_feedforward), "feedforward")
        put(x.PROFILE_ACCELERATION.address, dict.fromkeys(ids, no_profile), "profile")
        put(x.GOAL_PWM.address, pwm, "goal PWM")
        here = self._here()
        if self._torques:
            put(x.GOAL_CURRENT.address, self._goals.torques(np.zeros(len(ids))), "goal current")
        else:
            goals = self._goals.targets(here, torque_cap)
            put(x.INDIRECT_DATA, goals, "goal current and position")
        return here

    def enable(self) -> None:
        """Watchdog, then torque, each read back. Raises as `prepare`."""
        put, ids = self._registers.set, self.ids
        watchdog = x.pack(x.BUS_WATCHDOG, self._watchdog)
        put(x.BUS_WATCHDOG.address, dict.fromkeys(ids, watchdog), "bus watchdog")
        self.powered, self.left_on = True, ()
        put(x.TORQUE_ENABLE.address, dict.fromkeys(ids, b"\x01"), "torque enable")
        self._slow.enabled()

    def disable(self) -> None:
        """Torque off, sent until all are seen off or it has been sent often enough.

        What was not seen off is in `left_on`: all of them where the port is gone, which raises
        DeviceError.
        """
        self.powered, self.left_on = False, tuple(self.ids)
        torque = self._registers.torque_off()
        self.left_on = tuple(id for id in self.ids if torque.get(id) != 0)
        self.health.torque_on[[id not in self.left_on for id in self.ids]] = False
        if self.left_on:
            self.bus.note(f"torque not seen off: ID {', '.join(map(str, self.left_on))}")

    def _set_indirect(self) -> None:
        """Point the indirect data at the goals and at what the slow read asks for."""
        data = dict.fromkeys(self.ids, INDIRECT)
        self._registers.set(x.INDIRECT_ADDRESS, data, "indirect addresses")
        self._slow.indirect = True

    def _here(self) -> np.ndarray:
        """Joint angles read anew [rad]; MotorError where one is far from the last reading's."""
        counts = self._registers.read(x.PRESENT_POSITION)
        here = self.units.joint_pos(self._column(counts))
        allowed = self._description.safety.joint_jump
        for id, jump in zip(self.ids, np.abs(here - self.joint_pos), strict=True):
            if not jump <= allowed:
                found = f"{counts[id]}, {jump:.2f} rad from where it was"
                raise self._registers.error(id, x.PRESENT_POSITION, found, f"{allowed:.2f} rad")
        return here

    # --- helpers ----------------------------------------------------------------------------

    def _gains_of(self, mode: Mode) -> dict[int, bytes]:
        """Of a mode about to be sent; the slow read looks for them from now on."""
        self._slow.gains = self._goals.gains(mode == Mode.DAMP)
        return self._slow.gains

    def _column(self, values: Mapping[int, int]) -> np.ndarray:
        return np.array([values[id] for id in self.ids], dtype=np.int64)
