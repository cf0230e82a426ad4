"""The log: what goes in comes out, bit for bit, whoever is killed and however full the disk."""

import itertools
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from surefoot.__main__ import main
from surefoot.deploy.log.format import (
    FIELDS,
    Level,
    decode_ticks,
    encode_tick,
    is_tick,
    same_fields,
    tick_dtype,
    tick_schema,
)
from surefoot.deploy.log.process import FRAME, START, Start
from surefoot.deploy.log.reader import read_log, repair_log
from surefoot.deploy.log.writer import LogWriter
from surefoot.models.errors import LogError, UsageError

NAMES = ("hip", "knee")
COMMANDS = ("vx [m/s]", "vy [m/s]", "turn [rad/s]")
LENGTH = struct.Struct("<BQ")  # opcode and length before every MCAP record


def a_tick(number: int, n: int = len(NAMES)) -> np.ndarray:
    """A tick whose every value tells its number and its field."""
    record: Any = np.zeros((), tick_dtype(n, 3))
    for index, field in enumerate(FIELDS):
        record[field.name] = (number + index) % 200
    record["tick"], record["start"] = number, time.monotonic()
    return record


def write_log(path: Path, ticks: int) -> list[np.ndarray]:
    """A whole log with one event after the first tick."""
    log = LogWriter(path, NAMES, COMMANDS, {"robot.toml": b"name = 'r'\n"}, {"run": {"seed": "7"}})
    records = [a_tick(number) for number in range(ticks)]
    for record in records:
        assert log.record(record)
        if record["tick"] == 0:
            assert log.event(Level.WARNING, "leaning")
    summary = log.close()
    assert (summary.written, summary.dropped, summary.error) == (ticks + 1, 0, None)
    return records


def record_ends(data: bytes) -> list[tuple[int, int]]:
    """Opcode and end of every MCAP record."""
    ends, offset = [], 8
    while offset < len(data) - 8:
        opcode, length = LENGTH.unpack_from(data, offset)
        offset += LENGTH.size + length
        ends.append((opcode, offset))
    return ends


# --- the record and its message ---------------------------------------------------------------


def test_the_record_has_the_fields_in_order_and_no_padding():
    dtype = tick_dtype(12, 3)
    assert dtype.names == tuple(field.name for field in FIELDS)
    # 13 float32 and 4 bytes a joint; 5 float64, 3 uint32, 3 uint8; 4 vectors and 3 scalars float32
    assert dtype.itemsize == 12 * (13 * 4 + 4) + 5 * 8 + 3 * 4 + 3 * 1 + (4 * 3 + 3) * 4
    assert tick_dtype(12, 7).itemsize == dtype.itemsize + (7 - 3) * 4  # a longer command


@settings(max_examples=50, deadline=None)
@given(n=st.integers(1, 40), c=st.integers(1, 9), data=st.data())
def test_any_bits_survive_the_message(n, c, data):
    size = tick_dtype(n, c).itemsize
    raw = data.draw(st.binary(min_size=size, max_size=size))
    record = np.frombuffer(raw, tick_dtype(n, c))[0]
    message = encode_tick(record)
    assert is_tick(message, n, c)
    assert decode_ticks([message, message], n, c).tobytes() == raw + raw


def test_a_message_of_other_joints_or_of_zeros_is_no_tick():
    message = encode_tick(a_tick(1))
    assert not is_tick(message, 3, 3)
    assert not is_tick(message, 2, 4)
    assert not is_tick(bytes(len(message)), 2, 3)
    half = len(message) // 2
    assert not is_tick(message[:half] + bytes(len(message) - half), 2, 3)


def test_the_schema_says_units_and_ignores_their_wording():
    schema = tick_schema()
    comments = [place.leading_comments for place in schema.file[0].source_code_info.location]
    assert comments[9] == "measured joint angle [rad]"
    schema.file[0].source_code_info.location[9].leading_comments = "other words"
    assert same_fields(schema.SerializeToString())
    schema.file[0].message_type[0].field[9].name = "other_field"
    assert not same_fields(schema.SerializeToString())


# --- from the loop to the file and back -------------------------------------------------------


def test_every_bit_of_a_run_comes_back(tmp_path):
    record = a_tick(3)
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    record["joint_pos"] = [tiny, -huge]
    # A quiet NaN with a payload, a signalling one; then -0 and infinity.
    record["joint_vel"] = np.array([0x7FC12345, 0xFF812345], np.uint32).view(np.float32)
    record["joint_torque"] = [-0.0, np.inf]
    record["start"] = np.nan
    record["tick"], record["error_bits"] = 2**32 - 1, 255
    path = tmp_path / "run.mcap"
    log = LogWriter(
        path,
        NAMES,
        COMMANDS,
        {"policy.onnx": bytes(range(256)) * 999, "empty": b""},
        clock=lambda: 5.25,
    )
    log.record(record)
    log.event(Level.ERROR, "fault: Öl " + "x" * 5000)
    summary = log.close()
    assert log.close() is summary

    back = read_log(path)
    assert back.ticks.tobytes() == record.tobytes()
    assert back.complete and back.dropped == 0 and back.ending == "closed"
    assert back.joint_names == NAMES
    assert back.command_names == COMMANDS
    assert back.attachments == {"policy.onnx": bytes(range(256)) * 999, "empty": b""}
    assert back.events[0].time == 5.25 and back.events[0].level is Level.ERROR
    assert back.events[0].text == "fault: Öl " + "x" * (2000 - 11)
    # printf '' | sha256sum
    assert back.metadata["sha256"]["empty"].startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert set(back.metadata["versions"]) >= {"surefoot", "numpy", "onnxruntime", "python"}


def test_an_independent_reader_decodes_all_channels(tmp_path):
    records = write_log(tmp_path / "run.mcap", 3)
    wall = {}
    with (tmp_path / "run.mcap").open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        found = {"/tick": [], "/joint_states": [], "/log": []}
        for schema, channel, message, decoded in reader.iter_decoded_messages():
            assert schema is not None
            found[channel.topic].append((schema.name, decoded))
            wall[channel.topic] = message.log_time
        assert [entry.name for entry in reader.iter_metadata()][-1] == "end"
        assert [(entry.name, entry.data) for entry in reader.iter_attachments()] == [
            ("robot.toml", b"name = 'r'\n")
        ]
    assert {topic: {name for name, _ in group} for topic, group in found.items()} == {
        "/tick": {"surefoot.Tick"},
        "/joint_states": {"foxglove.JointStates"},
        "/log": {"foxglove.Log"},
    }
    for record, (_, tick), (_, joints) in zip(
        records, found["/tick"], found["/joint_states"], strict=True
    ):
        for field in FIELDS:
            value = getattr(tick, field.name)
            assert np.array_equal(record[field.name], value if field.width == 1 else list(value))
        assert [joint.name for joint in joints.joints] == list(NAMES)
        assert [joint.position for joint in joints.joints] == record["joint_pos"].tolist()
        assert [joint.velocity for joint in joints.joints] == record["joint_vel"].tolist()
        assert [joint.effort for joint in joints.joints] == record["joint_torque"].tolist()
    _, event = found["/log"][0]
    assert (event.message, event.level, event.name) == ("leaning", 3, "surefoot")
    # The last tick's time on the wall is the log's start, and what the loop's clock went on since.
    head = read_log(tmp_path / "run.mcap").metadata["log"]
    since = float(records[-1]["start"]) - float(head["clock"])
    assert wall["/tick"] == pytest.approx(int(head["wall"]) + since * 1e9, abs=2000)


def test_a_log_is_never_overwritten_and_needs_its_folder(tmp_path):
    path = tmp_path / "run.mcap"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="found a file, allowed is a new name"):
        LogWriter(path, NAMES, COMMANDS)
    assert path.read_bytes() == b"mine"
    with pytest.raises(UsageError, match="cannot be created: No such file"):
        LogWriter(tmp_path / "nowhere" / "run.mcap", NAMES, COMMANDS)
    with pytest.raises(UsageError, match="metadata 'log': the log writes its own"):
        LogWriter(tmp_path / "other.mcap", NAMES, COMMANDS, metadata={"log": {}})


def test_a_record_of_another_robot_is_dropped_and_counted(tmp_path):
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    assert not log.record(a_tick(0, n=3))
    assert log.record(a_tick(1))
    assert log.dropped == 1
    summary = log.close()
    assert (summary.written, summary.dropped) == (1, 1)


def test_a_log_for_another_robot_or_that_is_closed_is_refused_before_a_run(tmp_path):
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    log.require(tick_dtype(2, 3))
    with pytest.raises(
        UsageError,
        match=r"run\.mcap: found a log for 2 joints, a command of 3 and 0 contact sensors, allowed "
        "is one for 12 joints, a command of 1 and 4 contact sensors",
    ):
        log.require(tick_dtype(12, 1, 4))
    log.close()
    with pytest.raises(UsageError, match="found the log closed"):
        log.require(tick_dtype(2, 3))


def test_a_closed_log_writes_to_nobody(tmp_path):
    """Its pipe's number may be another file's by now: that of a port to the motors."""
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    assert log.close().dropped == 0
    end, other = os.pipe()
    os.dup2(other, log._pipe)
    assert not log.record(a_tick(0)) and not log.event(Level.INFO, "after the end")
    for descriptor in {other, log._pipe}:
        os.close(descriptor)
    assert os.read(end, 100) == b""
    os.close(end)


def test_an_event_of_what_is_no_text_is_written_all_the_same(tmp_path):
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    assert log.event(Level.ERROR, "port /dev/\udcff: gone")  # a path's byte that is no UTF-8
    log.close()
    assert [event.text for event in read_log(log.path).events] == ["port /dev/?: gone"]


def test_a_record_that_somebody_took_out_counts_as_dropped(tmp_path):
    path = tmp_path / "run.mcap"
    write_log(path, 5)
    data = path.read_bytes()
    records = itertools.pairwise(record_ends(data))
    # tick, joint states, event, then tick and joint states by turns
    begin, end = [(before, end) for (_, before), (opcode, end) in records if opcode == 5][5]
    path.write_bytes(data[:begin] + data[end:])
    log = read_log(path)
    assert log.complete and log.ticks["tick"].tolist() == [0, 1, 3, 4]
    assert log.dropped == 1


# --- faults -----------------------------------------------------------------------------------

HOST = """
    import sys, time
    import numpy as np
    from surefoot.deploy.log.format import tick_dtype
    from surefoot.deploy.log.writer import LogWriter
    log = LogWriter(sys.argv[1], ("hip", "knee"), ("vx", "vy", "turn"))
    record = np.zeros((), tick_dtype(2, 3))
    for number in range(10**6):
        record["tick"], record["start"], record["limited_target"] = number, time.monotonic(), number
        while not log.record(record):
            time.sleep(0.001)
        print(number, flush=True)
"""


def test_after_kill_9_of_the_control_process_the_log_holds_its_last_tick(tmp_path):
    path = tmp_path / "run.mcap"
    # The logger inherits stderr, so the end of stderr is the end of both processes.
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOST), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # no line hides in a buffer
    )
    assert host.stdout is not None
    for line in host.stdout:
        if line == b"300\n":
            break
    host.kill()
    output, errors = host.communicate(timeout=30)
    assert host.returncode == -signal.SIGKILL and errors == b""
    last = max([300, *map(int, output.split(b"\n")[:-1])])

    log = read_log(path)
    assert log.complete and log.ending == "the control process died"
    # The tick after the last one printed may have been handed over, too.
    assert len(log.ticks) - 1 in (last, last + 1)
    assert np.array_equal(log.ticks["tick"], np.arange(len(log.ticks)))
    assert np.array_equal(log.ticks["limited_target"][:, 1], np.arange(len(log.ticks)))


def test_after_kill_9_of_the_logger_control_goes_on_and_counts(tmp_path):
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    assert log.record(a_tick(0))
    wait_for(lambda: len(read_log(tmp_path / "run.mcap").ticks) == 1)
    os.kill(log.pid, signal.SIGKILL)
    os.waitid(os.P_PID, log.pid, os.WEXITED | os.WNOWAIT)  # dead, for the writer to find so
    assert not any(log.record(a_tick(number)) for number in range(1, 50))
    assert not log.event(Level.ERROR, "to nobody")
    assert log.dropped == 50
    summary = log.close()
    assert (summary.written, summary.dropped) == (1, 50)
    assert summary.error == "the logger died, exit status -9"
    assert not read_log(tmp_path / "run.mcap").complete


@pytest.mark.parametrize("n", [2, 300])  # frames that a pipe takes whole or not at all, and larger
def test_a_full_pipe_drops_whole_records_and_blocks_nobody(tmp_path, n):
    log = LogWriter(tmp_path / "run.mcap", [f"joint {index}" for index in range(n)], COMMANDS)
    log.event(Level.INFO, "before")
    os.kill(log.pid, signal.SIGSTOP)
    accepted = []
    for number in range(10**5):
        if log.record(a_tick(number, n)):
            accepted.append(number)
        if log.dropped == 20:
            break
    assert log.dropped == 20
    os.kill(log.pid, signal.SIGCONT)
    while not log.record(a_tick(10**6, n)):
        time.sleep(0.001)
    accepted.append(10**6)
    refused = log.dropped
    summary = log.close()
    assert (summary.written, summary.dropped, summary.error) == (len(accepted) + 1, refused, None)
    back = read_log(tmp_path / "run.mcap")
    assert back.ticks["tick"].tolist() == accepted
    assert back.complete and back.dropped == refused
    whole = a_tick(10**6, n)
    whole["start"] = back.ticks[-1]["start"]
    assert back.ticks[-1].tobytes() == whole.tobytes()


def test_a_file_that_may_not_grow_stops_the_log_and_not_the_control(tmp_path):
    path = tmp_path / "run.mcap"
    log = LogWriter(path, NAMES, COMMANDS)
    limit = path.stat().st_size + 5000
    resource.prlimit(log.pid, resource.RLIMIT_FSIZE, (limit, limit))
    deadline = time.monotonic() + 20
    number = 0
    while log.record(a_tick(number)) and time.monotonic() < deadline:
        number += 1
        time.sleep(0.001)
    assert not log.record(a_tick(number + 1))
    summary = log.close()
    assert summary.error == "File too large"
    back = read_log(path)
    assert not back.complete
    assert len(back.ticks) - summary.written in (0, 1)  # its joint states may be what found no room
    assert summary.written + summary.dropped == number + 2
    assert np.array_equal(back.ticks["tick"], np.arange(len(back.ticks)))


def test_a_full_disk_is_reported_by_its_name():
    payload = Start(list(NAMES), list(COMMANDS), 0.0, 0, {}, {}).pack()
    with Path("/dev/full").open("wb", buffering=0) as full:
        logger = subprocess.run(
            [sys.executable, "-m", "surefoot.deploy.log.process", str(full.fileno())],
            input=FRAME.pack(START, 0, len(payload)) + payload,
            pass_fds=[full.fileno()],
            capture_output=True,
            timeout=30,
        )
    assert logger.returncode == 1 and logger.stderr == b""
    assert json.loads(logger.stdout) == {"written": 0, "error": "No space left on device"}


def test_a_log_that_cannot_be_started_leaves_no_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(LogError, match=r"the log cannot be started: File too large$"):
            LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_ctrl_c_and_term_do_not_end_the_logger(tmp_path):
    log = LogWriter(tmp_path / "run.mcap", NAMES, COMMANDS)
    for number, name in enumerate((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        os.kill(log.pid, name)
        log.record(a_tick(number))
    assert os.getsid(log.pid) != os.getsid(0)
    assert log.close().written == 3


def test_a_log_cut_anywhere_reads_to_its_last_whole_message(tmp_path):
    records = write_log(tmp_path / "run.mcap", 4)
    data = (tmp_path / "run.mcap").read_bytes()
    ends = record_ends(data)
    messages = [end for opcode, end in ends if opcode == 5]
    # tick, joint states, event, then tick and joint states by turns
    tick_ends = [messages[0], *messages[3::2]]
    cut = tmp_path / "cut.mcap"
    head = max(end for _, end in ends if end < messages[0])
    borders = [end for _, end in ends if end >= head]
    middles = [(a + b) // 2 for a, b in itertools.pairwise(borders)]
    near = {end + shift for end in borders for shift in (-1, 0, 1, 5)}
    for size in {head, *near, *middles, len(data) - 1, len(data)} - {head - 1}:
        cut.write_bytes(data[:size])
        log = read_log(cut)
        count = sum(end <= size for end in tick_ends)
        assert log.ticks.tobytes() == b"".join(record.tobytes() for record in records[:count])
        assert len(log.events) == (size >= messages[2])
        assert log.complete == (size >= len(data))
        assert log.metadata["run"] == {"seed": "7"}
        assert log.attachments == {"robot.toml": b"name = 'r'\n"}


def test_any_cut_before_the_first_tick_is_read_or_refused_in_one_line(tmp_path):
    write_log(tmp_path / "run.mcap", 1)
    data = (tmp_path / "run.mcap").read_bytes()
    cut = tmp_path / "cut.mcap"
    for size in range(0, len(data) // 2, 23):
        cut.write_bytes(data[:size])
        try:
            assert len(read_log(cut).ticks) in (0, 1)
        except LogError as error:
            assert "\n" not in str(error)


def test_zeros_where_data_was_due_are_the_cut(tmp_path):
    records = write_log(tmp_path / "run.mcap", 4)
    data = (tmp_path / "run.mcap").read_bytes()
    messages = [end for opcode, end in record_ends(data) if opcode == 5]
    torn = messages[5] - 300  # within the third tick
    path = tmp_path / "torn.mcap"
    path.write_bytes(data[:torn] + bytes(len(data) - torn))
    log = read_log(path)
    assert not log.complete
    assert log.ticks.tobytes() == records[0].tobytes() + records[1].tobytes()
    repaired = repair_log(path, tmp_path / "whole.mcap")
    assert repaired.ticks.tobytes() == log.ticks.tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found no head of a Surefoot log"),
        (b"a text file, and no log at all", "found no MCAP file"),
        (b"\x89MCAP0\r\n", "found no head of a Surefoot log"),
    ],
)
def test_what_is_no_log_is_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "x.mcap"
    path.write_bytes(content)
    with pytest.raises(LogError) as caught:
        read_log(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_log_of_another_format_is_refused(tmp_path):
    path = tmp_path / "run.mcap"
    write_log(path, 1)
    head = b"format\x01\x00\x00\x00"  # a string of one character follows
    data = path.read_bytes()
    assert data.count(head + b"2") == 1
    path.write_bytes(data.replace(head + b"2", head + b"1"))
    with pytest.raises(LogError, match="found log format 1, allowed is 2"):
        read_log(path)


# --- surefoot log -----------------------------------------------------------------------------


def test_repair_makes_a_whole_file(tmp_path, capsys):
    records = write_log(tmp_path / "run.mcap", 5)
    data = (tmp_path / "run.mcap").read_bytes()
    messages = [end for opcode, end in record_ends(data) if opcode == 5]
    cut, out = tmp_path / "cut.mcap", tmp_path / "out.mcap"
    cut.write_bytes(data[: messages[-3] + 100])
    assert main(["log", "repair", str(cut), str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: 4 ticks and 1 events saved\n"
    log, original = read_log(out), read_log(tmp_path / "run.mcap")
    assert log.complete and log.ending == "cut off; repaired"
    assert log.ticks.tobytes() == b"".join(record.tobytes() for record in records[:4])
    assert (log.events, log.attachments) == (original.events, original.attachments)
    with out.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None and summary.statistics is not None
    assert summary.statistics.message_count == 9  # 4 ticks, 4 joint states, 1 event

    assert main(["log", "repair", str(cut), str(out)]) == 2
    assert "cannot be created: File exists" in capsys.readouterr().err
    assert main(["log", "repair", str(out), str(tmp_path / "again.mcap")]) == 2
    assert "found whole, there is nothing to repair" in capsys.readouterr().err
    assert not (tmp_path / "again.mcap").exists()


def test_info_gives_the_figures(tmp_path, capsys):
    path = tmp_path / "run.mcap"
    log = LogWriter(path, NAMES, COMMANDS, {"robot.toml": b"12345"}, clock=lambda: 10.0)
    record: Any = np.zeros((), tick_dtype(2, 3))
    for number in range(4):  # due every 20 ms from 10 s; each begins 1 ms late, the last 11 ms
        start = 10 + 0.02 * number + (0.011 if number == 3 else 0.001)
        record["tick"], record["start"], record["deadline"] = number, start, 10 + 0.02 * number
        record["state"] = 1 if number == 0 else 2
        record["read"] = record["inferred"] = start + 0.002
        if number:
            record["inferred"] += 0.0005 * number
        record["written"] = start + 0.004
        record["missed"], record["wire_errors"] = number // 2, 3
        record["bus_time"] = 0.0015
        record["reasons"] = [0, 1] if number == 2 else [4, 5] if number == 3 else [0, 0]
        record["voltage"] = [np.nan, 12.0 - 0.25 * number]
        record["temperature"] = np.nan
        record["joint_torque"] = [-1.5, 0.5]
        record["fault"] = 1 if number == 3 else 0
        log.record(record)
    log.event(Level.WARNING, "[red]leaning")
    log.close()

    assert main(["log", "info", str(path), "--fields", "--json"]) == 0
    output = capsys.readouterr().out
    assert "[red]leaning" in output
    assert "rad/s" in output  # of the table of fields
    info = json.loads(output.splitlines()[-1])
    assert info["complete"] is True and info["ticks"] == 4 and info["dropped"] == 0
    assert info["missed_deadlines"] == 1 and info["wire_errors"] == 3
    assert info["duration"] == pytest.approx(0.07)
    assert info["states"] == {
        "STAND": {"ticks": 1, "seconds": pytest.approx(0.02)},
        "RUN": {"ticks": 3, "seconds": pytest.approx(0.05)},
    }
    assert info["faults"] == [{"tick": 3, "time": pytest.approx(0.07), "fault": "TILT"}]
    assert info["reasons"] == {
        "RATE": {"ticks": 2, "joints": {"knee": 2}},
        "TORQUE": {"ticks": 0, "joints": {}},
        "POSITION": {"ticks": 1, "joints": {"hip": 1, "knee": 1}},
        "VELOCITY": {"ticks": 0, "joints": {}},
    }
    # Periods 20, 20, 30 ms: the 99th percentile is 98 % of the way from the second to the third.
    assert info["period"] == pytest.approx({"p50": 0.0200, "p99": 0.0298, "max": 0.0300})
    assert info["late"] == pytest.approx({"p50": 0.0010, "p99": 0.0107, "max": 0.0110})
    assert info["infer"] == pytest.approx({"p50": 0.00100, "p99": 0.00149, "max": 0.00150})
    assert info["read"]["p50"] == pytest.approx(0.0020)
    assert info["busy"]["max"] == pytest.approx(0.0040)
    assert info["bus"]["p99"] == pytest.approx(0.0015)
    assert info["voltage"] == [11.25, 12.0]
    assert info["temperature"] is None
    assert info["torque"] == [0.5, 1.5]
    assert info["attachments"] == {"robot.toml": 5}
    assert info["events"] == [
        {"time": pytest.approx(-0.001), "level": "WARNING"} | {"text": "[red]leaning"}
    ]


def test_info_reads_a_log_without_ticks_and_says_that_it_is_cut(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths are told as they may be typed here
    write_log(tmp_path / "run.mcap", 1)
    data = (tmp_path / "run.mcap").read_bytes()
    first = next(end for opcode, end in record_ends(data) if opcode == 5)
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: first - 1])
    assert main(["log", "info", str(path), "--json"]) == 0
    output = capsys.readouterr().out
    assert "cut off; this makes it whole:" in output and "log repair cut.mcap" in output
    info = json.loads(output.splitlines()[-1])
    assert info["ticks"] == 0 and info["complete"] is False and info["period"] is None


def wait_for(condition, seconds: float = 20.0) -> None:
    """Wait until another process has done what it will do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
