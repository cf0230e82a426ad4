"""An emulated DYNAMIXEL X-series motor: control table and control law.

It works at its output shaft and knows no bus: `motor_bus.py` speaks for it.

Sources: ROBOTIS e-Manual, XM430-W210. What the manual leaves open is emulated so:

- Bus watchdog: the manual says the motor "stops", with a velocity-mode example. Here it holds the
  position where it was, in modes 3 and 5: the goal position becomes the present one. In mode 0,
  which knows no position, the goal current becomes 0: limp. All of it unconfirmed.
- Stiffness in mode 5: the manual gives no N·m/rad per unit of gain. Here it is robot.toml's figure
  times `MotorDifference.stiffness`.
- Error bits stay until a reboot, and torque is refused with "result fail" until then.
- A nonzero D gain in mode 3 counts PWM units per count/ms: the manual's 1/16 at an assumed 1 kHz.

Modes 0, 3 and 5 are emulated, without profiles, integral gains and feedforward: what would turn
these on, and the other modes, are refused with a range error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...models.robot import MotorModel
from ..dynamixel import xseries as x
from ..dynamixel.protocol import ALERT, StatusError
from ..dynamixel.xseries import COUNTS_PER_TURN, RADIANS_PER_COUNT, OperatingMode, Register
from .protection import Protection
from .table import FULL_PWM, RESET_BY_MODE, ControlTable, Refusal

VELOCITY_FILTER = 0.005  # time constant of the present velocity [s]
CURRENT_FILTER = 0.002  # time constant of the present current [s]
CURRENT_NOISE = 1.0  # standard deviation [counts]
BOOT_TIME = 0.3  # silent after a reboot; assumed [s]
GAIN_P, GAIN_D = 128.0, 16.0  # units of the position gains: PWM units per count, per count/ms


@dataclass(frozen=True)
class MotorDifference:
    """How the emulated motors differ from robot.toml on purpose."""

    stiffness: float = 0.93  # factor on the torque per unit of P gain, mode 5
    damping: float = 1.1  # factor on the torque per unit of D gain, mode 5
    torque_constant: float = 0.97  # factor on the torque per ampere
    supply_voltage: float = 12.2  # with nothing drawn [V]
    supply_resistance: float = 0.06  # of the battery and its wires [Ω]


class EmulatedMotor:
    """One motor as its setup left it: its mode, ID and baud rate, return delay 0; torque off.

    Position is reset to one turn by power-on and reboot, and when mode 3 is entered or gets its
    torque; in modes 0 and 5 it counts turns from there (of mode 0 assumed).
    """

    def __init__(
        self,
        model: MotorModel,
        id: int,
        baud_rate: int,
        shaft: float = 0.0,
        difference: MotorDifference | None = None,
        mode: OperatingMode = OperatingMode.CURRENT_BASED_POSITION,
    ):
        """`shaft` is the absolute angle of the output shaft [rad].

        Raises:
            KeyError: a baud rate that X-series motors do not have.
        """
        self.model = model
        self.difference = MotorDifference() if difference is None else difference
        self.resistance = model.nominal_voltage / model.stall_current  # [Ω]
        self.back_emf = model.nominal_voltage / model.no_load_speed  # [V·s/rad]
        self.torque_per_ampere = model.torque_per_ampere * self.difference.torque_constant
        self.table = ControlTable()
        self.table.set(x.MODEL_NUMBER, model.model_number)
        self.table.set(x.ID, id)
        self.table.set(x.BAUD_RATE, x.BAUD_CODES[baud_rate])
        self.table.set(x.RETURN_DELAY, 0)
        self.table.set(x.OPERATING_MODE, mode)
        self.time = 0.0
        self.shaft, self.velocity, self.current = shaft, 0.0, 0.0
        self.voltage = self.difference.supply_voltage
        self.protection = Protection(model.stall_torque)
        self._filtered_velocity = self._filtered_current = self._noise = self._duty = 0.0
        self._boot()

    # --- on the wire ----------------------------------------------------------------------------

    @property
    def id(self) -> int:
        return self.table.get(x.ID)

    @property
    def baud_rate(self) -> int:
        return _BAUD_RATES[self.table.get(x.BAUD_RATE)]

    @property
    def return_delay(self) -> float:
        """[s]"""
        return self.table.get(x.RETURN_DELAY) * x.RETURN_DELAY_UNIT

    @property
    def awake(self) -> bool:
        """False while it boots."""
        return self.time >= self._awake_at

    @property
    def alert(self) -> int:
        """The bit that every status packet's error byte carries: `ALERT` or 0."""
        return ALERT if self.table.get(x.HARDWARE_ERROR) else 0

    def hear(self, time: float) -> None:
        """An instruction packet came: the bus watchdog is fed."""
        self._heard_at = time

    def read(self, address: int, length: int) -> bytes:
        """Raises Refusal as the device would."""
        self._present()
        return self.table.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        """Raises Refusal as the device would; then nothing is written."""
        values = self.table.check_write(address, data)
        if values.get(x.TORQUE_ENABLE) and self._shut_down:
            raise Refusal(StatusError.RESULT_FAIL)
        for register, value in values.items():
            self._change(register, value)
        self._load()

    def reg_write(self, address: int, data: bytes) -> None:
        """Keep a write for `action`. Raises Refusal as the device would."""
        self.table.check_write(address, data)
        self._registered = (address, data)
        self.table.set(x.REGISTERED_INSTRUCTION, 1)

    def action(self) -> None:
        """Do what `reg_write` kept. Raises Refusal: INSTRUCTION where there is nothing."""
        if self._registered is None:
            raise Refusal(StatusError.INSTRUCTION)
        address, data = self._registered
        self._registered = None
        self.table.set(x.REGISTERED_INSTRUCTION, 0)
        self.write(address, data)

    def clear(self) -> None:
        """Forget the turns. Raises Refusal: RESULT_FAIL under torque (the manual: while moving)."""
        if self._enabled:
            raise Refusal(StatusError.RESULT_FAIL)
        self._reset_turns()

    def reboot(self) -> None:
        """Power-on again: RAM to its initial values, errors and turns forgotten, torque off."""
        self.table.reset_ram()
        self._boot()
        self._awake_at = self.time + BOOT_TIME

    # --- in the body ----------------------------------------------------------------------------

    @property
    def supply_current(self) -> float:
        """What it draws from the supply, or gives back [A]."""
        return self._duty * self.current

    def step(
        self, timestep: float, shaft: float, velocity: float, voltage: float, noise: float
    ) -> float:
        """One step of the control law.

        Args:
            timestep: [s].
            shaft, velocity: true angle [rad] and velocity [rad/s] of the output shaft.
            voltage: supply voltage [V].
            noise: of the current sensor, standard normal.

        Returns:
            Torque on the output shaft [N·m].
        """
        self.time += timestep
        self.shaft, self.velocity, self.voltage, self._noise = shaft, velocity, voltage, noise
        if self._watchdog > 0 and self._enabled and self.time - self._heard_at > self._watchdog:
            self._trip()
        self.current = self._law() if self._enabled else 0.0
        self._filtered_velocity += (velocity - self._filtered_velocity) * min(
            1.0, timestep / VELOCITY_FILTER
        )
        self._filtered_current += (self.current - self._filtered_current) * min(
            1.0, timestep / CURRENT_FILTER
        )
        torque = self.torque_per_ampere * self.current
        if errors := self.protection.step(timestep, self.current, torque, voltage):
            self._raise_errors(errors)
        return torque

    def _law(self) -> float:
        """The motor's current under torque [A]."""
        counts = self.shaft / RADIANS_PER_COUNT - self._offset
        error = self._goal - counts  # [counts]
        emf = self.back_emf * self.velocity
        if self._mode == OperatingMode.POSITION:
            rate = self.velocity / RADIANS_PER_COUNT / 1000.0  # [counts/ms]
            pwm = self._gain_p / GAIN_P * error - self._gain_d / GAIN_D * rate
            self._duty = min(max(pwm / FULL_PWM, -self._duty_cap), self._duty_cap)
            return (self._duty * self.voltage - emf) / self.resistance
        if self._mode == OperatingMode.CURRENT:
            current = self._goal_current
        else:
            torque = self._stiffness * error * RADIANS_PER_COUNT - self._damping * self.velocity
            current, cap = torque / self.torque_per_ampere, abs(self._goal_current)
            current = min(max(current, -cap), cap)
        reach = self._duty_cap * self.voltage
        lowest, highest = (-reach - emf) / self.resistance, (reach - emf) / self.resistance
        current = min(max(current, lowest), highest)
        self._duty = (current * self.resistance + emf) / self.voltage
        return current

    def _raise_errors(self, errors: int) -> None:
        """Set error bits, and cut the torque where the shutdown mask asks for it."""
        found = self.table.get(x.HARDWARE_ERROR) | errors
        self.table.set(x.HARDWARE_ERROR, found)
        if found & self.table.get(x.SHUTDOWN):
            self._shut_down = True
            self.table.set(x.TORQUE_ENABLE, 0)
            self._load()

    def _trip(self) -> None:
        """The bus watchdog: hold here, or let go; refuse goals until 0 is written to it."""
        self.table.set(x.BUS_WATCHDOG, x.WATCHDOG_TRIPPED)
        self.table.set(x.GOAL_POSITION, self._position())
        if self._mode == OperatingMode.CURRENT:
            self.table.set(x.GOAL_CURRENT, 0)
        self._load()

    # --- inside ---------------------------------------------------------------------------------

    def _boot(self) -> None:
        self._registered: tuple[int, bytes] | None = None
        self._shut_down = False
        self.protection.reboot()
        self._awake_at = self._heard_at = self.time
        self._reset_turns()
        self.table.set(x.GOAL_POSITION, self._position())
        self._load()

    def _reset_turns(self) -> None:
        """Count from the absolute angle within one turn, homing offset added."""
        turns = math.floor((self.shaft / RADIANS_PER_COUNT + 0.5) / COUNTS_PER_TURN)
        self._offset = turns * COUNTS_PER_TURN - self.table.get(x.HOMING_OFFSET)

    def _position(self) -> int:
        return math.floor(self.shaft / RADIANS_PER_COUNT + 0.5) - self._offset

    def _change(self, register: Register, value: int) -> None:
        """Write one register, with what follows from it."""
        old = self.table.get(register)
        self.table.set(register, value)
        if register == x.OPERATING_MODE and value != old:
            for other in RESET_BY_MODE:
                self.table.reset(other)
        in_mode_3 = self.table.get(x.OPERATING_MODE) == OperatingMode.POSITION
        entered = register == x.OPERATING_MODE or (register == x.TORQUE_ENABLE and not old)
        if (entered and in_mode_3) or register == x.HOMING_OFFSET:
            self._reset_turns()

    def _load(self) -> None:
        """Take the registers that the control law needs out of the table."""
        get = self.table.get
        self._enabled = bool(get(x.TORQUE_ENABLE))
        self._mode = get(x.OPERATING_MODE)
        self._goal = get(x.GOAL_POSITION)
        self._gain_p, self._gain_d = get(x.POSITION_P_GAIN), get(x.POSITION_D_GAIN)
        model, difference = self.model, self.difference
        self._stiffness = self._gain_p * model.stiffness_per_gain * difference.stiffness
        self._damping = self._gain_d * model.damping_per_gain * difference.damping
        self._goal_current = get(x.GOAL_CURRENT) * x.CURRENT_UNIT  # [A]; in mode 5, a cap
        self._duty_cap = abs(get(x.GOAL_PWM)) / FULL_PWM
        self._watchdog = get(x.BUS_WATCHDOG) * x.WATCHDOG_UNIT
        self.protection.min_voltage = get(x.MIN_VOLTAGE_LIMIT) * x.VOLTAGE_UNIT
        self.protection.max_voltage = get(x.MAX_VOLTAGE_LIMIT) * x.VOLTAGE_UNIT
        self.protection.max_temperature = get(x.TEMPERATURE_LIMIT)
        if not self._enabled:
            self._duty = 0.0

    def _present(self) -> None:
        """Put the sensors' values into the table, quantised."""
        put = self.table.set
        velocity = round(self._filtered_velocity / x.VELOCITY_UNIT)
        put(x.PRESENT_POSITION, self._position())
        put(x.PRESENT_VELOCITY, velocity)
        noise = CURRENT_NOISE * self._noise if self._enabled else 0.0
        put(x.PRESENT_CURRENT, round(self._filtered_current / x.CURRENT_UNIT + noise))
        put(x.PRESENT_PWM, round(self._duty * FULL_PWM))
        put(x.PRESENT_VOLTAGE, round(self.voltage / x.VOLTAGE_UNIT))
        put(x.PRESENT_TEMPERATURE, round(self.protection.temperature))
        put(x.REALTIME_TICK, int(self.time * 1000.0) % 32768)
        put(x.MOVING, int(abs(velocity) > self.table.get(x.MOVING_THRESHOLD)))
        put(x.POSITION_TRAJECTORY, self.table.get(x.GOAL_POSITION))


_BAUD_RATES = {code: rate for rate, code in x.BAUD_CODES.items()}
