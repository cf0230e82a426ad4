"""The motors of one bus: opened without moving them, read, told their goals, enabled, let go."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import numpy as np

from ..models.errors import DeviceError
from ..models.robot import Robot
from . import xseries as x
from .dynamixel import ALERT, Block
from .interface import Health, Mode
from .motor_bus import STATUS_SIZE, MotorBus
from .motor_registers import TRIES, MotorRegisters
from .motor_units import MotorUnits

RUN_PATIENCE = 0.4  # of a control period: waited for a late reply in the loop
MIN_PATIENCE = 0.003  # [s]
VELOCITY_MARGIN = 3.0  # times the no-load speed: beyond it a reading is refused
TORQUE_ON_BY_GOAL, REVERSE = 0x08, 0x01  # bits of the drive mode that would surprise

# Two windows that end with present current, velocity and position (126 to 135). Consecutive ticks
# ask for different lengths, so a late reply cannot pass for that of the next request.
WINDOWS = ((x.PRESENT_CURRENT.address, 10), (x.PRESENT_PWM.address, 12))
_FEEDBACK = struct.Struct("<hii")  # current, velocity, position

# Indirect data: goal current and goal position side by side, then what the slow read asks for.
_GOAL = struct.Struct("<hi")
_SLOW = struct.Struct("<BbHB")  # hardware error, watchdog, voltage, temperature
_GOAL_REGISTERS = (x.GOAL_CURRENT, x.GOAL_POSITION)
_SLOW_REGISTERS = (
    x.HARDWARE_ERROR,
    x.BUS_WATCHDOG,
    x.PRESENT_VOLTAGE,
    x.PRESENT_TEMPERATURE,
)
_INDIRECT = b"".join(
    struct.pack("<H", register.address + i)
    for register in _GOAL_REGISTERS + _SLOW_REGISTERS
    for i in range(register.size)
)
SLOW_DATA = x.INDIRECT_DATA + _GOAL.size


class MotorGroup:
    """m motors on one bus. `index` says which of the robot's joints they move; arrays are (m,)."""

    def __init__(self, robot: Robot, bus: MotorBus) -> None:
        """Find the motors and check them, without moving or dropping anything.

        Raises:
            DeviceError: a motor is silent, or not as robot.toml says.
        """
        self.bus = bus
        self.index = np.array([i for i, j in enumerate(robot.joints) if j.motor.bus == bus.name])
        self.joints = [robot.joints[i] for i in self.index]
        self.models = [robot.motor_models[joint.motor.model] for joint in self.joints]
        self.ids = [joint.motor.id for joint in self.joints]
        self.units = MotorUnits(self.joints, self.models)
        m = len(self.ids)
        self.joint_pos, self.joint_vel = np.zeros(m), np.zeros(m)
        self.joint_torque = np.zeros(m)
        self.time = np.full(m, -math.inf)  # of the values above [s]
        self.alert = np.zeros(m, dtype=bool)
        self.health = Health.unknown(m)
        self.refused = 0  # implausible readings so far
        self._robot = robot
        self._registers = MotorRegisters(bus, self.joints)
        self._row = {id: row for row, id in enumerate(self.ids)}
        self._misses = dict.fromkeys(self.ids, 0)  # in a row
        self._slow_row = -1
        ticks = math.ceil(robot.safety.watchdog / x.WATCHDOG_UNIT - 1e-9)
        self._watchdog = min(max(ticks, 1), x.WATCHDOG_MAX)
        kp, kd = [j.kp for j in self.joints], [j.kd for j in self.joints]
        damping = [robot.safety.damping] * m
        self._gains = {
            False: self._pack_gains(kp, kd),
            True: self._pack_gains([0.0] * m, damping),
        }
        self._check()
        self._fast = self._answers_fast()
        self._check_bus_time()
        self.found_on = self.torque_on()
        self._indirect = not self.found_on
        if self._indirect:
            self._set_indirect()
        else:
            ids = ", ".join(map(str, self.found_on))
            bus.note(f"found torque on (ID {ids}): left as it is until OFF is commanded")
        self.current_limit = self._column(self._registers.read(x.CURRENT_LIMIT))
        self._pwm_limit = self._registers.read(x.PWM_LIMIT)
        counts = self._column(self._registers.read(x.PRESENT_POSITION))
        self.units.find_turns(counts)
        self.joint_pos = self.units.joint_pos(counts)
        bus.patience = max(MIN_PATIENCE, RUN_PATIENCE * robot.control_period)

    # --- opening ----------------------------------------------------------------------------

    def _check(self) -> None:
        """Model, operating mode and drive mode; takes the return delay on the way."""
        registers = self._registers
        for (id, number), model in zip(registers.model_numbers().items(), self.models, strict=True):
            if number != model.model_number:
                allowed = f"{model.model_number}, {model.name}"
                raise registers.error(id, x.MODEL_NUMBER, number, allowed)
        delays = registers.read(x.RETURN_DELAY).values()
        self.bus.return_delay = max(delays) * x.RETURN_DELAY_UNIT
        for id, mode in registers.read(x.OPERATING_MODE).items():
            if mode != x.OperatingMode.CURRENT_BASED_POSITION:
                allowed = "5, current-based position"
                raise registers.error(id, x.OPERATING_MODE, mode, allowed)
        for id, mode in registers.read(x.DRIVE_MODE).items():
            if mode & (TORQUE_ON_BY_GOAL | REVERSE):
                raise registers.error(id, x.DRIVE_MODE, mode, "one without the bits 0x01 and 0x08")

    def _answers_fast(self) -> bool:
        for _ in range(TRIES):
            if len(self.bus.fast_sync_read(self.ids, *WINDOWS[0])) == len(self.ids):
                return True
        self.bus.note("some motor answers no fast sync read: plain sync reads are used")
        return False

    def _check_bus_time(self) -> None:
        """Refuse a bus that needs more than half the control period; tell a return delay."""
        m = len(self.ids)
        request, write = 14 + m, 14 + m * (1 + _GOAL.size)
        reply = 8 + m * (4 + 10) if self._fast else m * (STATUS_SIZE + 10)
        needed = self.bus.wire_time(request + reply + write, m)
        delay = f"a return delay of {self.bus.return_delay * 1e6:.0f} µs (EEPROM address 9)"
        if needed > self._robot.control_period / 2:
            raise DeviceError(
                f"bus '{self.bus.name}': found {needed * 1e3:.1f} ms a tick at "
                f"{self.bus.transport.baud_rate} baud with {delay}, allowed is half the control "
                f"period, {self._robot.control_period * 500:.1f} ms"
            )
        if self.bus.return_delay > 0:
            self.bus.note(f"found {delay}; 0 would be faster")

    # --- reading ----------------------------------------------------------------------------

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
        self._read_slow()

    def _take(self, replies: Mapping[int, Block], length: int, now: float) -> None:
        """Turn replies into joint values, refusing what no robot does."""
        m = len(self.ids)
        raw = np.zeros((m, 3), dtype=np.int64)
        good = np.zeros(m, dtype=bool)
        for id, block in replies.items():
            row = self._row[id]
            self.alert[row] = bool(block.error & ALERT)
            if len(block.data) == length:
                raw[row] = _FEEDBACK.unpack(block.data[-_FEEDBACK.size :])
                good[row] = True
        torque, velocity = self.units.joint_torque(raw[:, 0]), self.units.joint_vel(raw[:, 1])
        position = self.units.joint_pos(raw[:, 2])
        for row in np.flatnonzero(good).tolist():
            top = VELOCITY_MARGIN * self.models[row].no_load_speed / self.units.gear[row]
            if abs(velocity[row]) > top:
                good[row] = self._refuse(row, f"velocity {velocity[row]:.1f} rad/s")
                continue
            jump = position[row] - self.joint_pos[row]
            if abs(jump) <= self._allowed_jump(row, now):
                continue
            turns = round(jump / self.units.turn[row])
            residual = jump - turns * self.units.turn[row]
            if turns and abs(residual) <= self._allowed_jump(row, now):
                # The device has lost or won whole turns; its goals count from there too.
                self.units.turns[row] -= round(self.units.sign[row] * turns)
                position[row] -= turns * self.units.turn[row]
                self._refuse(row, f"position {turns:+d} turns off, unwrapped")
            else:
                good[row] = self._refuse(row, f"position jump of {jump:.2f} rad")
        self.joint_pos[good], self.joint_vel[good] = position[good], velocity[good]
        self.joint_torque[good], self.time[good] = torque[good], now

    def _allowed_jump(self, row: int, now: float) -> float:
        """Change of the joint angle since the last good one that may be real [rad]."""
        ticks = max(1.0, (now - self.time[row]) / self._robot.control_period)
        return min(self._robot.safety.joint_jump * ticks, 0.499 * self.units.turn[row])

    def _refuse(self, row: int, what: str) -> bool:
        self.refused += 1
        self.bus.note(f"{self.joints[row].name} (ID {self.ids[row]}): implausible {what}")
        return False

    def _read_slow(self) -> None:
        """Ask the next motor that answers, and every other time one with an alert."""
        answering = [row for row, id in enumerate(self.ids) if not self._misses[id]]
        if not answering:
            return
        self._slow_row += 1
        alerted = [row for row in answering if self.alert[row]]
        rows = alerted if alerted and self._slow_row % 2 else answering
        row = rows[self._slow_row // (2 if alerted else 1) % len(rows)]
        data = self._slow_data(self.ids[row])
        if data is None:
            return
        error, watchdog, voltage, temperature = _SLOW.unpack(data)
        health = self.health
        health.error_bits[row] = error
        health.watchdog_tripped[row] = watchdog == x.WATCHDOG_TRIPPED
        health.voltage[row] = voltage * x.VOLTAGE_UNIT
        health.temperature[row] = temperature

    def _slow_data(self, id: int) -> bytes | None:
        if self._indirect:
            windows = [(SLOW_DATA, _SLOW.size)]
        else:  # the indirect addresses are not set up yet
            windows = [(r.address, r.size) for r in _SLOW_REGISTERS]
        data = b""
        for address, length in windows:
            block = self.bus.read(id, address, length)
            if block is None or len(block.data) != length:
                return None
            data += block.data
        return data

    # --- writing ----------------------------------------------------------------------------

    def write_goals(self, target: np.ndarray, torque_cap: np.ndarray) -> None:
        """Send joint targets [rad] and torque caps [N·m], in one packet."""
        self.bus.sync_write(x.INDIRECT_DATA, _GOAL.size, self._goals(target, torque_cap))

    def write_gains(self, mode: Mode) -> None:
        """Send the gains of a mode: damping alone for DAMP."""
        self.bus.sync_write(x.POSITION_D_GAIN.address, 6, self._gains[mode == Mode.DAMP])

    def torque_on(self) -> list[int]:
        """IDs of the motors whose torque is on."""
        return [id for id, on in self._registers.read(x.TORQUE_ENABLE).items() if on]

    def enable(self, mode: Mode, torque_cap: np.ndarray) -> np.ndarray:
        """Torque on at the present position: gains, caps, goal, watchdog, torque, each read back.

        Returns:
            The joint angles at which the motors now hold [rad].

        Raises:
            DeviceError: a motor has a hardware error, is silent, or does not take a value.
        """
        for id, error in self._registers.read(x.HARDWARE_ERROR).items():
            if error:
                found = f"{error} ({x.HardwareError(error)!r})"
                raise self._registers.error(
                    id, x.HARDWARE_ERROR, found, "0: power-cycle or reboot it"
                )
        put, ids = self._registers.set, self.ids
        zero = bytes(x.PROFILE_ACCELERATION.size + x.PROFILE_VELOCITY.size)
        watchdog = x.pack(x.BUS_WATCHDOG, self._watchdog)
        pwm = {id: x.pack(x.GOAL_PWM, limit) for id, limit in self._pwm_limit.items()}
        # A tripped watchdog refuses goals until it is cleared.
        put(x.BUS_WATCHDOG.address, dict.fromkeys(ids, b"\x00"), "bus watchdog")
        self._set_indirect()
        put(x.POSITION_D_GAIN.address, self._gains[mode == Mode.DAMP], "position gains")
        put(x.PROFILE_ACCELERATION.address, dict.fromkeys(ids, zero), "profile")
        put(x.GOAL_PWM.address, pwm, "goal PWM")
        here = self.units.joint_pos(self._column(self._registers.read(x.PRESENT_POSITION)))
        put(x.INDIRECT_DATA, self._goals(here, torque_cap), "goal current and position")
        put(x.BUS_WATCHDOG.address, dict.fromkeys(ids, watchdog), "bus watchdog")
        put(x.TORQUE_ENABLE.address, dict.fromkeys(ids, b"\x01"), "torque enable")
        return here

    def disable(self) -> None:
        """Torque off, sent until all are seen off or it has been sent often enough."""
        register = x.TORQUE_ENABLE
        on = self.ids
        for _ in range(TRIES):
            self.bus.sync_write(register.address, 1, dict.fromkeys(self.ids, b"\x00"))
            replies = self.bus.sync_read(self.ids, register.address, register.size)
            on = [id for id in self.ids if id not in replies or replies[id].data != b"\x00"]
            if not on:
                return
        self.bus.note(f"torque not seen off: ID {', '.join(map(str, on))}")

    def _set_indirect(self) -> None:
        """Point the indirect data at the goals and at what the slow read asks for."""
        data = dict.fromkeys(self.ids, _INDIRECT)
        self._registers.set(x.INDIRECT_ADDRESS, data, "indirect addresses")
        self._indirect = True

    # --- helpers ----------------------------------------------------------------------------

    def _goals(self, target: np.ndarray, torque_cap: np.ndarray) -> dict[int, bytes]:
        position = self.units.goal_position(target)
        current = self.units.goal_current(torque_cap, self.current_limit)
        rows = zip(self.ids, current.tolist(), position.tolist(), strict=True)
        return {id: _GOAL.pack(c, p) for id, c, p in rows}

    def _pack_gains(self, kp: list[float], kd: list[float]) -> dict[int, bytes]:
        gains = self.units.position_gains(kp, kd)
        return {
            id: struct.pack("<HHH", d, 0, p) for id, (p, d) in zip(self.ids, gains, strict=True)
        }

    def _column(self, values: Mapping[int, int]) -> np.ndarray:
        return np.array([values[id] for id in self.ids], dtype=np.int64)
