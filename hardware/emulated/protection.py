"""What protects an emulated motor from itself: its heat, its load, its supply, as error bits.

Sources: ROBOTIS e-Manual, XM430-W210, "Shutdown". It leaves open how a motor heats, and what a
"persistent load" is: here 80 % of the stall torque for two seconds.
"""

from __future__ import annotations

from ..dynamixel.xseries import HardwareError

AMBIENT = 25.0  # [°C]
HEATING = 0.17  # [K/s] per A²: the stall current reaches the limit in about a minute
COOLING_TIME = 300.0  # time constant [s]
OVERLOAD_LEVEL = 0.8  # of the stall torque
OVERLOAD_TIME = 2.0  # [s]


class Protection:
    """One motor's protection of itself. Its limits are set from the control table."""

    def __init__(self, stall_torque: float):
        """`stall_torque` is of the output shaft [N·m]."""
        self.temperature = AMBIENT  # [°C]
        self.min_voltage, self.max_voltage = 0.0, 0.0  # [V]
        self.max_temperature = 0.0  # [°C]
        self._overload = OVERLOAD_LEVEL * stall_torque
        self._loaded_for = 0.0  # [s]

    def reboot(self) -> None:
        """Forget the load; the heat stays."""
        self._loaded_for = 0.0

    def step(self, timestep: float, current: float, torque: float, voltage: float) -> int:
        """One step of heat and load.

        Args:
            timestep: [s].
            current: of the motor [A].
            torque: on the output shaft [N·m].
            voltage: of the supply [V].

        Returns:
            `HardwareError` bits of what is wrong now, 0 where nothing is.
        """
        cooling = (self.temperature - AMBIENT) / COOLING_TIME
        self.temperature += timestep * (HEATING * current**2 - cooling)
        self._loaded_for = self._loaded_for + timestep if abs(torque) > self._overload else 0.0
        errors = 0
        if not self.min_voltage <= voltage <= self.max_voltage:
            errors |= HardwareError.INPUT_VOLTAGE
        if self.temperature > self.max_temperature:
            errors |= HardwareError.OVERHEATING
        if self._loaded_for > OVERLOAD_TIME:
            errors |= HardwareError.OVERLOAD
        return errors
