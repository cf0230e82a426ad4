"""The emulated X-series motor against its manual and against arithmetic done by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.hardware.dynamixel import xseries as x
from surefoot.hardware.dynamixel.protocol import ALERT, StatusError
from surefoot.hardware.dynamixel.xseries import HardwareError, OperatingMode, Register
from surefoot.hardware.emulated.motor import BOOT_TIME, EmulatedMotor, MotorDifference
from surefoot.hardware.emulated.table import SIZE, Refusal
from surefoot.models.robot import MotorModel

MODEL = MotorModel(
    name="XM430-W210",
    model_number=1030,
    nominal_voltage=12.0,
    stall_torque=3.0,
    stall_current=2.3,
    no_load_speed=8.06,
    stiffness_per_gain=0.01725,
    damping_per_gain=0.0005,
)
SAME = MotorDifference(1.0, 1.0, 1.0, 12.0, 0.0)
DT = 0.001


def make_motor(shaft: float = 0.0, difference: MotorDifference = SAME) -> EmulatedMotor:
    return EmulatedMotor(MODEL, 1, 1_000_000, shaft, difference)


def put(motor: EmulatedMotor, register: Register, value: int) -> None:
    motor.write(register.address, x.pack(register, value))


def get(motor: EmulatedMotor, register: Register) -> int:
    return x.unpack(register, motor.read(register.address, register.size))


def refusal(motor: EmulatedMotor, register: Register, value: int) -> StatusError:
    with pytest.raises(Refusal) as caught:
        put(motor, register, value)
    return caught.value.error


def run(motor: EmulatedMotor, seconds: float, shaft=0.0, velocity=0.0, voltage=12.0) -> float:
    torque = 0.0
    for _ in range(round(seconds / DT)):
        torque = motor.step(DT, shaft, velocity, voltage, 0.0)
    return torque


# --- control table ------------------------------------------------------------------------------


def test_a_motor_is_as_its_setup_left_it():
    motor = make_motor()
    assert get(motor, x.MODEL_NUMBER) == 1030
    assert get(motor, x.OPERATING_MODE) == 5
    assert get(motor, x.RETURN_DELAY) == 0
    assert get(motor, x.BAUD_RATE) == 3
    assert get(motor, x.SHUTDOWN) == 0x34
    assert get(motor, x.SHADOW_ID) == 255
    assert get(motor, x.FEEDFORWARD_1ST_GAIN) == get(motor, x.FEEDFORWARD_2ND_GAIN) == 0
    assert get(motor, x.POSITION_P_GAIN) == 800
    assert get(motor, x.TORQUE_ENABLE) == 0
    assert motor.baud_rate == 1_000_000


def test_read_only_and_undefined_addresses_refuse_writes_with_an_access_error():
    motor = make_motor()
    assert refusal(motor, x.PRESENT_POSITION, 0) == StatusError.ACCESS
    assert refusal(motor, x.HARDWARE_ERROR, 0) == StatusError.ACCESS
    assert refusal(motor, Register("reserved", 150, 1), 0) == StatusError.ACCESS


def test_eeprom_is_locked_while_torque_is_on_and_ram_is_not():
    motor = make_motor()
    put(motor, x.RETURN_DELAY, 5)
    put(motor, x.TORQUE_ENABLE, 1)
    assert refusal(motor, x.RETURN_DELAY, 0) == StatusError.ACCESS
    assert refusal(motor, x.OPERATING_MODE, 3) == StatusError.ACCESS
    put(motor, x.POSITION_P_GAIN, 400)
    assert (get(motor, x.RETURN_DELAY), get(motor, x.POSITION_P_GAIN)) == (5, 400)


def test_values_outside_the_range_and_outside_the_configured_limits_are_told_apart():
    motor = make_motor()
    assert refusal(motor, x.TORQUE_ENABLE, 2) == StatusError.DATA_RANGE
    assert refusal(motor, x.GOAL_CURRENT, 1194) == StatusError.DATA_RANGE
    put(motor, x.CURRENT_LIMIT, 500)
    assert refusal(motor, x.GOAL_CURRENT, 501) == StatusError.DATA_LIMIT
    assert refusal(motor, x.GOAL_CURRENT, -501) == StatusError.DATA_LIMIT
    put(motor, x.GOAL_CURRENT, 500)
    assert refusal(motor, x.GOAL_POSITION, 256 * 4096) == StatusError.DATA_RANGE


def test_position_limits_act_in_mode_3_only():
    motor = make_motor()
    put(motor, x.GOAL_POSITION, -5000)
    put(motor, x.OPERATING_MODE, 3)
    put(motor, x.MAX_POSITION_LIMIT, 3000)
    assert refusal(motor, x.GOAL_POSITION, 3001) == StatusError.DATA_LIMIT
    put(motor, x.GOAL_POSITION, 3000)


def test_part_of_a_register_is_refused_with_a_length_error():
    motor = make_motor()
    with pytest.raises(Refusal) as caught:
        motor.write(x.GOAL_POSITION.address, b"\x01\x00")
    assert caught.value.error == StatusError.DATA_LENGTH


def test_a_write_is_taken_whole_or_not_at_all():
    motor = make_motor()
    with pytest.raises(Refusal):
        motor.write(x.POSITION_D_GAIN.address, x.pack(x.POSITION_D_GAIN, 7) + b"\xff\xff")
    assert get(motor, x.POSITION_D_GAIN) == 0


def test_modes_that_are_not_emulated_are_refused():
    motor = make_motor()
    for mode in (OperatingMode.VELOCITY, OperatingMode.EXTENDED_POSITION, OperatingMode.PWM, 7):
        assert refusal(motor, x.OPERATING_MODE, mode) == StatusError.DATA_RANGE
    assert refusal(motor, x.PROFILE_VELOCITY, 100) == StatusError.DATA_RANGE


def test_changing_the_mode_resets_gains_and_goals():
    motor = make_motor()
    put(motor, x.POSITION_P_GAIN, 123)
    put(motor, x.GOAL_CURRENT, 50)
    put(motor, x.GOAL_PWM, 400)
    put(motor, x.OPERATING_MODE, 5)  # the same mode: nothing changes
    assert get(motor, x.POSITION_P_GAIN) == 123
    put(motor, x.OPERATING_MODE, 3)
    assert get(motor, x.POSITION_P_GAIN) == 800
    assert get(motor, x.GOAL_CURRENT) == 1193
    assert get(motor, x.GOAL_PWM) == 885


def test_indirect_addresses_join_goal_current_and_goal_position():
    motor = make_motor()
    wanted = [*range(102, 104), *range(116, 120)]
    motor.write(168, b"".join(address.to_bytes(2, "little") for address in wanted))
    motor.write(224, x.pack(x.GOAL_CURRENT, 300) + x.pack(x.GOAL_POSITION, -77))
    assert (get(motor, x.GOAL_CURRENT), get(motor, x.GOAL_POSITION)) == (300, -77)
    assert motor.read(224, 6) == x.pack(x.GOAL_CURRENT, 300) + x.pack(x.GOAL_POSITION, -77)
    with pytest.raises(Refusal) as caught:  # half of goal position
        motor.write(224, bytes(4))
    assert caught.value.error == StatusError.DATA_LENGTH
    with pytest.raises(Refusal) as caught:  # EEPROM cannot be reached
        motor.write(168, (7).to_bytes(2, "little"))
    assert caught.value.error == StatusError.DATA_RANGE


@given(st.integers(0, 700), st.binary(max_size=40))
def test_any_write_leaves_the_table_as_it_was_or_reads_back(address, data):
    motor = make_motor()
    before = bytes(motor.table.bytes)
    try:
        motor.write(address, data)
    except Refusal:
        assert bytes(motor.table.bytes) == before
    else:
        assert len(motor.table.bytes) == SIZE
        motor.step(DT, 0.0, 0.0, 12.0, 0.0)


def test_reg_write_waits_for_action():
    motor = make_motor()
    with pytest.raises(Refusal) as caught:
        motor.action()
    assert caught.value.error == StatusError.INSTRUCTION
    motor.reg_write(x.GOAL_POSITION.address, x.pack(x.GOAL_POSITION, 42))
    assert (get(motor, x.GOAL_POSITION), get(motor, x.REGISTERED_INSTRUCTION)) == (0, 1)
    motor.action()
    assert (get(motor, x.GOAL_POSITION), get(motor, x.REGISTERED_INSTRUCTION)) == (42, 0)


# --- sensors ------------------------------------------------------------------------------------


def test_position_is_within_one_turn_at_power_on_and_counts_turns_from_there():
    motor = make_motor(shaft=-0.5)  # −0.5 rad = −325.95 counts
    assert get(motor, x.PRESENT_POSITION) == 4096 - 326
    run(motor, DT, shaft=1.0)  # 1 rad = 651.9 counts, a turn on
    assert get(motor, x.PRESENT_POSITION) == 4096 + 652
    motor.reboot()
    assert get(motor, x.PRESENT_POSITION) == 652


def test_clear_forgets_the_turns_unless_torque_is_on():
    motor = make_motor(shaft=-0.5)
    run(motor, DT, shaft=1.0)
    put(motor, x.TORQUE_ENABLE, 1)
    with pytest.raises(Refusal) as caught:
        motor.clear()
    assert caught.value.error == StatusError.RESULT_FAIL
    put(motor, x.TORQUE_ENABLE, 0)
    motor.clear()
    assert get(motor, x.PRESENT_POSITION) == 652


def test_present_values_are_quantised_in_the_units_of_the_manual():
    motor = make_motor()
    put(motor, x.POSITION_P_GAIN, 0)
    put(motor, x.TORQUE_ENABLE, 1)
    run(motor, 0.1, shaft=0.1, velocity=1.0, voltage=11.54)
    assert get(motor, x.PRESENT_POSITION) == 65  # 0.1 / (2π / 4096) = 65.2
    assert get(motor, x.PRESENT_VELOCITY) == 42  # 1 rad/s = 9.549 rpm = 41.7 × 0.229
    assert get(motor, x.PRESENT_VOLTAGE) == 115
    assert get(motor, x.REALTIME_TICK) in (99, 100)
    assert get(motor, x.MOVING) == 1


def test_present_velocity_lags():
    motor = make_motor()
    run(motor, 0.005, velocity=1.0)  # one time constant: 1 − (1 − 1/5)⁵ = 0.672
    assert get(motor, x.PRESENT_VELOCITY) == round(41.7 * 0.672)


# --- control law --------------------------------------------------------------------------------


def enable(motor: EmulatedMotor, goal: int, **registers: int) -> None:
    for name, value in registers.items():
        put(motor, getattr(x, name), value)
    put(motor, x.GOAL_POSITION, goal)
    put(motor, x.TORQUE_ENABLE, 1)


def test_no_torque_before_torque_enable():
    motor = make_motor()
    put(motor, x.GOAL_POSITION, 1000)
    assert run(motor, 0.01) == 0.0


def test_mode_5_is_a_spring_and_a_damper():
    motor = make_motor()
    enable(motor, goal=100, POSITION_D_GAIN=740)
    # 800 × 0.01725 N·m/rad × 100 × 2π/4096 rad − 740 × 0.0005 N·m·s/rad × 1 rad/s
    expected = 13.8 * 0.153398 - 0.37
    assert run(motor, DT, velocity=1.0) == pytest.approx(expected, rel=1e-5)


def test_mode_5_is_capped_by_goal_current():
    motor = make_motor()
    enable(motor, goal=1000, GOAL_CURRENT=100)
    assert run(motor, DT) == pytest.approx(100 * 0.00269 * 3.0 / 2.3)  # 0.351 N·m


def test_mode_5_ends_at_the_torque_speed_line():
    motor = make_motor()
    enable(motor, goal=3000)
    # Half the no-load speed leaves half the stall torque at nominal voltage.
    assert run(motor, DT, velocity=4.03) == pytest.approx(1.5)
    assert run(motor, DT, velocity=8.06) == pytest.approx(0.0, abs=1e-9)


def test_mode_3_commands_voltage():
    motor = make_motor()
    put(motor, x.OPERATING_MODE, 3)
    enable(motor, goal=100)
    # 800/128 × 100 counts = 625 of 885 PWM units; stall torque in proportion; back-EMF damps.
    expected = 3.0 * 625 / 885 - 3.0 / 8.06 * 1.0
    assert run(motor, DT, velocity=1.0) == pytest.approx(expected)
    assert get(motor, x.PRESENT_PWM) == 625


def test_the_difference_changes_stiffness_but_not_what_registers_say():
    motor = make_motor(difference=MotorDifference(stiffness=0.93))
    enable(motor, goal=100)
    assert run(motor, DT) == pytest.approx(0.93 * 13.8 * 0.153398, rel=1e-5)
    assert get(motor, x.POSITION_P_GAIN) == 800


# --- protections --------------------------------------------------------------------------------


def test_the_watchdog_trips_holds_and_refuses_goals_until_cleared():
    motor = make_motor()
    enable(motor, goal=500, BUS_WATCHDOG=5)  # 100 ms
    motor.hear(0.0)
    run(motor, 0.099, shaft=0.1)
    assert get(motor, x.BUS_WATCHDOG) == 5
    run(motor, 0.003, shaft=0.1)
    assert get(motor, x.BUS_WATCHDOG) == -1
    assert get(motor, x.GOAL_POSITION) == 65  # where it was
    assert abs(run(motor, DT, shaft=0.1)) < 0.01
    assert run(motor, DT, shaft=0.0) > 0.5  # it holds
    assert refusal(motor, x.GOAL_POSITION, 500) == StatusError.DATA_RANGE
    assert refusal(motor, x.GOAL_CURRENT, 10) == StatusError.DATA_RANGE
    assert motor.alert == 0  # a tripped watchdog is no hardware error
    put(motor, x.BUS_WATCHDOG, 0)
    put(motor, x.GOAL_POSITION, 500)


def test_the_watchdog_is_fed_by_packets_and_asleep_without_torque():
    motor = make_motor()
    put(motor, x.BUS_WATCHDOG, 1)
    run(motor, 1.0)
    assert get(motor, x.BUS_WATCHDOG) == 1
    motor.hear(motor.time)
    put(motor, x.TORQUE_ENABLE, 1)
    for _ in range(20):
        motor.hear(motor.time)
        run(motor, 0.015)
    assert get(motor, x.BUS_WATCHDOG) == 1


def test_heat_shuts_the_motor_down_until_a_reboot():
    motor = make_motor()
    enable(motor, goal=2000)
    motor.protection.temperature = 79.9
    assert run(motor, 0.1) != 0.0
    torque = run(motor, 0.1)
    assert torque == 0.0
    assert get(motor, x.HARDWARE_ERROR) == HardwareError.OVERHEATING
    assert (motor.alert, get(motor, x.TORQUE_ENABLE)) == (ALERT, 0)
    assert refusal(motor, x.TORQUE_ENABLE, 1) == StatusError.RESULT_FAIL
    motor.protection.temperature = 40.0
    motor.reboot()
    assert not motor.awake
    run(motor, BOOT_TIME + DT)
    assert motor.awake and motor.alert == 0
    put(motor, x.TORQUE_ENABLE, 1)


def test_the_stall_current_reaches_the_temperature_limit_in_about_a_minute():
    motor = make_motor()
    put(motor, x.SHUTDOWN, 0)
    enable(motor, goal=4000)
    for _ in range(6000):
        motor.step(0.01, 0.0, 0.0, 12.0, 0.0)
    assert 70.0 < motor.protection.temperature < 90.0


def test_overload_shuts_down_after_two_seconds():
    motor = make_motor()
    enable(motor, goal=2000)
    assert run(motor, 1.99) == pytest.approx(3.0)
    assert run(motor, 0.02) == 0.0
    assert get(motor, x.HARDWARE_ERROR) == HardwareError.OVERLOAD


def test_low_voltage_raises_the_alert_but_is_not_in_the_default_shutdown_mask():
    motor = make_motor()
    enable(motor, goal=100)
    assert run(motor, DT, voltage=9.4) > 0.0
    assert (motor.alert, get(motor, x.HARDWARE_ERROR)) == (ALERT, HardwareError.INPUT_VOLTAGE)
    assert run(motor, DT, voltage=9.4) > 0.0


def test_a_reboot_forgets_ram_and_keeps_eeprom():
    motor = make_motor()
    put(motor, x.RETURN_DELAY, 10)
    put(motor, x.POSITION_P_GAIN, 10)
    put(motor, x.BUS_WATCHDOG, 5)
    put(motor, x.TORQUE_ENABLE, 1)
    motor.reboot()
    assert get(motor, x.RETURN_DELAY) == 10
    assert get(motor, x.POSITION_P_GAIN) == 800
    assert (get(motor, x.BUS_WATCHDOG), get(motor, x.TORQUE_ENABLE)) == (0, 0)
    assert get(motor, x.GOAL_POSITION) == get(motor, x.PRESENT_POSITION)


# --- mode 0 -------------------------------------------------------------------------------------


def make_pushing(units: int) -> EmulatedMotor:
    """A motor in mode 0 under torque, with so much goal current."""
    motor = EmulatedMotor(MODEL, 1, 1_000_000, 0.0, SAME, OperatingMode.CURRENT)
    put(motor, x.GOAL_CURRENT, 0)
    put(motor, x.TORQUE_ENABLE, 1)
    put(motor, x.GOAL_CURRENT, units)
    return motor


@pytest.mark.parametrize("units", [300, -300, 0])
def test_in_mode_0_the_goal_current_is_the_torque_wherever_the_shaft_is(units: int):
    motor = make_pushing(units)
    expected = units * x.CURRENT_UNIT * MODEL.torque_per_ampere
    for shaft in (0.0, 1.0, -20.0):
        assert run(motor, 0.01, shaft=shaft) == pytest.approx(expected)


def test_in_mode_0_the_supply_caps_the_current_of_a_fast_motor():
    motor = make_pushing(1000)  # 2.69 A, 3.5 N·m: more than stalled it could be
    assert run(motor, 0.01) == pytest.approx(3.0)
    # Half way to the no-load speed half the voltage is left: 1.5 N·m.
    assert run(motor, 0.01, velocity=MODEL.no_load_speed / 2) == pytest.approx(1.5)
    assert run(motor, 0.01, velocity=MODEL.no_load_speed) == pytest.approx(0.0, abs=1e-9)


def test_in_mode_0_a_tripped_watchdog_lets_go_and_refuses_goals():
    motor = make_pushing(300)
    put(motor, x.BUS_WATCHDOG, 5)
    motor.hear(motor.time)
    assert run(motor, 0.09) > 0.9, "it goes on pushing until then"
    assert run(motor, 0.05, shaft=0.3) == 0.0
    assert get(motor, x.BUS_WATCHDOG) == x.WATCHDOG_TRIPPED and get(motor, x.TORQUE_ENABLE) == 1
    assert refusal(motor, x.GOAL_CURRENT, 10) == StatusError.DATA_RANGE
    put(motor, x.BUS_WATCHDOG, 0)
    put(motor, x.GOAL_CURRENT, 10)
