"""The emulated motors as seen by ROBOTIS' own SDK: a client that shares no code with Surefoot."""

import json
import signal
import subprocess
import sys
import time

import dynamixel_sdk as sdk
import pytest

TORQUE_ENABLE, D_GAIN, GOAL_CURRENT, GOAL_POSITION, PRESENT_POSITION = 64, 80, 102, 116, 132
IDS = range(1, 13)


@pytest.fixture(scope="module")
def port():
    command = [sys.executable, "-m", "surefoot", "emulate", "quadruped", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ports = json.loads(process.stdout.readline())["ports"]
        handler = sdk.PortHandler(ports["motors"])
        assert handler.openPort() and handler.setBaudRate(1_000_000)
        yield handler
        handler.closePort()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


@pytest.fixture
def packets():
    return sdk.PacketHandler(2.0)


def until_answered(call, attempts: int = 10):
    """The SDK gives a reply about 34 ms, which a busy machine may miss: ask again.

    Not before a late reply has come and can be dropped: the next request would take it for its own.
    """
    for _ in range(attempts):
        *values, result, error = call()
        if result == sdk.COMM_SUCCESS:
            return (*values, error)
        time.sleep(0.3)
    raise AssertionError(f"no answer in {attempts} attempts: {result}")


def position(port, packets, id: int) -> int:
    value, error = until_answered(lambda: packets.read4ByteTxRx(port, id, PRESENT_POSITION))
    assert error == 0
    return value - 2**32 if value >= 2**31 else value


def test_ping(port, packets):
    for id in IDS:
        assert until_answered(lambda id=id: packets.ping(port, id)) == (1030, 0)


def test_refusals_are_understood(port, packets):
    (error,) = until_answered(lambda: packets.write4ByteTxRx(port, 1, PRESENT_POSITION, 0))
    assert error == 7
    (error,) = until_answered(lambda: packets.write1ByteTxRx(port, 1, TORQUE_ENABLE, 7))
    assert error == 4


@pytest.mark.parametrize("fast", [False, True])
def test_sync_read(port, packets, fast):
    group = sdk.GroupSyncRead(port, packets, PRESENT_POSITION, 4)
    assert all(group.addParam(id) for id in IDS)
    for _ in range(10):
        result = group.fastSyncRead() if fast else group.txRxPacket()
        if result == sdk.COMM_SUCCESS:
            break
        time.sleep(0.3)
    assert result == sdk.COMM_SUCCESS
    for id in IDS:
        assert group.isAvailable(id, PRESENT_POSITION, 4)
        assert 0 <= group.getData(id, PRESENT_POSITION, 4) < 4096  # just switched on


def test_a_goal_position_moves_the_motor(port, packets):
    id = 4  # a hip's roll: free to move where the robot lies
    start = position(port, packets, id)
    assert until_answered(lambda: packets.write2ByteTxRx(port, id, GOAL_CURRENT, 500)) == (0,)
    assert until_answered(lambda: packets.write2ByteTxRx(port, id, D_GAIN, 740)) == (0,)
    goal = start + 80
    writer = sdk.GroupSyncWrite(port, packets, GOAL_POSITION, 4)
    writer.addParam(id, goal.to_bytes(4, "little", signed=True))
    assert writer.txPacket() == sdk.COMM_SUCCESS
    time.sleep(0.2)
    assert abs(position(port, packets, id) - start) < 5  # no torque yet
    assert until_answered(lambda: packets.write1ByteTxRx(port, id, TORQUE_ENABLE, 1)) == (0,)
    deadline = time.monotonic() + 10.0
    while abs((reached := position(port, packets, id)) - goal) > 20:
        assert time.monotonic() < deadline, f"found {reached}, goal {goal}, start {start}"
    assert until_answered(lambda: packets.write1ByteTxRx(port, id, TORQUE_ENABLE, 0)) == (0,)


def test_reboot(port, packets):
    until_answered(lambda: packets.write1ByteTxRx(port, 12, TORQUE_ENABLE, 1))
    assert until_answered(lambda: packets.reboot(port, 12), attempts=30) == (0,)
    enabled, error = until_answered(
        lambda: packets.read1ByteTxRx(port, 12, TORQUE_ENABLE), attempts=30
    )
    assert (enabled, error) == (0, 0)
