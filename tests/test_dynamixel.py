"""The Protocol 2.0 codec against the vendor's examples, random bytes and single flipped bits."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from surefoot.hardware.dynamixel import xseries
from surefoot.hardware.dynamixel.protocol import (
    ALERT,
    BROADCAST,
    Block,
    Instruction,
    Packet,
    StatusError,
    crc16,
    encode_fast_status,
    encode_instruction,
    encode_status,
    fast_status_size,
    read_params,
    stuff,
    sync_read_params,
    sync_write_params,
    take_fast_status,
    take_packet,
    unstuff,
    write_params,
)
from surefoot.hardware.emulated.table import RULES

REGISTERS = [rule.register for rule in RULES]

# Bytes that stuffing and headers are made of come up far more often than by chance.
NASTY = st.lists(st.sampled_from([0xFF, 0xFD, 0x00, 0x55, 0x01]), max_size=24).map(bytes)
DATA = st.one_of(st.binary(max_size=24), NASTY)
IDS = st.one_of(st.integers(0, 252), st.just(BROADCAST))
OTHERS = st.integers(0, 255).filter(lambda byte: byte != Instruction.STATUS)


def flip(data: bytes, bit: int) -> bytes:
    """`data` with one bit flipped."""
    return (int.from_bytes(data, "little") ^ 1 << bit).to_bytes(len(data), "little")


# --- golden vectors of the e-Manual ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (encode_instruction(1, Instruction.PING), "FF FF FD 00 01 03 00 01 19 4E"),
        (encode_status(1, 0, b"\x06\x04\x26"), "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D"),
        (encode_status(2, 0, b"\x06\x04\x26"), "FF FF FD 00 02 07 00 55 00 06 04 26 6F 6D"),
        (
            encode_instruction(1, Instruction.READ, read_params(132, 4)),
            "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15",
        ),
        (encode_status(1, 0, b"\xa6\0\0\0"), "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0"),
        (
            encode_instruction(1, Instruction.WRITE, write_params(116, b"\x00\x02\x00\x00")),
            "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89",
        ),
        (
            encode_instruction(BROADCAST, Instruction.SYNC_READ, sync_read_params(132, 4, [1, 2])),
            "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA",
        ),
        (
            encode_instruction(
                BROADCAST,
                Instruction.SYNC_WRITE,
                sync_write_params(116, 4, {1: b"\x96\0\0\0", 2: b"\xaa\0\0\0"}),
            ),
            "FF FF FD 00 FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87",
        ),
        (
            encode_instruction(
                BROADCAST, Instruction.FAST_SYNC_READ, sync_read_params(132, 4, [3, 7, 4])
            ),
            "FF FF FD 00 FE 0A 00 8A 84 00 04 00 03 07 04 20 F2",
        ),
    ],
)
def test_packets_of_the_manual(packet: bytes, expected: str) -> None:
    assert packet == bytes.fromhex(expected)


def test_fast_sync_read_reply_of_the_manual() -> None:
    # IDs 3, 7 and 4 at positions 166, 2079 and 1023; the manual's packet as far as ID 7's CRC.
    blocks = [
        Block(3, 0, b"\xa6\0\0\0"),
        Block(7, 0, b"\x1f\x08\0\0"),
        Block(4, 0, b"\xff\x03\0\0"),
    ]
    reply = encode_fast_status(blocks)
    expected = "FF FF FD 00 FE 19 00 55 00 03 A6 00 00 00 84 08 00 07 1F 08 00 00 16 CA"
    assert reply[:24] == bytes.fromhex(expected)
    assert len(reply) == fast_status_size(3, 4) == 32
    assert take_fast_status(reply, [3, 7, 4], 4) == (tuple(blocks), b"", 0)


def test_crc_is_the_vendors() -> None:
    sdk = pytest.importorskip("dynamixel_sdk")
    data = bytes(range(256)) * 2
    handler = sdk.Protocol2PacketHandler()
    assert crc16(data) == handler.updateCRC(0, list(data), len(data))
    assert crc16(data[100:], crc16(data[:100])) == crc16(data)


# --- round trips ----------------------------------------------------------------------------------


@given(DATA)
def test_stuffing_round_trip(body: bytes) -> None:
    stuffed = stuff(body)
    assert unstuff(stuffed) == body
    assert b"\xff\xff\xfd\x00" not in stuffed


def test_stuffing_by_hand() -> None:
    assert stuff(b"\xff\xff\xfd") == b"\xff\xff\xfd\xfd"
    assert stuff(b"\xff\xff\xfd\xfd") == b"\xff\xff\xfd\xfd\xfd"
    assert stuff(b"\xff\xff\xff\xfd\xff\xff\xfd") == b"\xff\xff\xff\xfd\xfd\xff\xff\xfd\xfd"
    # LEN counts the stuffing: 1 INST + 3 params + 1 stuffed + 2 CRC.
    assert encode_instruction(1, Instruction.WRITE, b"\xff\xff\xfd")[5:7] == b"\x07\x00"


@given(IDS, OTHERS, DATA)
def test_instruction_round_trip(id: int, instruction: int, params: bytes) -> None:
    data = encode_instruction(id, instruction, params)
    assert take_packet(data) == (Packet(id, instruction, 0, params), b"", 0)


@given(IDS, st.integers(0, 255), DATA)
def test_status_round_trip(id: int, error: int, params: bytes) -> None:
    data = encode_status(id, error, params)
    assert take_packet(data) == (Packet(id, Instruction.STATUS, error, params), b"", 0)


# --- corruption and resynchronisation -------------------------------------------------------------


@given(IDS, DATA, st.data())
def test_every_flipped_bit_is_refused(id: int, params: bytes, data: st.DataObject) -> None:
    packet = encode_status(id, StatusError.NONE, params)
    bit = data.draw(st.integers(0, 8 * len(packet) - 1))
    assert take_packet(flip(packet, bit))[0] is None


def test_every_flipped_bit_of_a_packet_leaves_the_next_one() -> None:
    packet, following = encode_status(1, 0, bytes(range(10))), encode_status(2, ALERT, b"\x07")
    for bit in range(8 * len(packet)):
        taken, rest, refused = take_packet(flip(packet, bit) + following)
        assert taken == Packet(2, Instruction.STATUS, ALERT, b"\x07"), bit
        assert rest == b"" and refused >= 1


@given(st.binary(max_size=80))
def test_any_bytes_are_taken_without_raising(data: bytes) -> None:
    packet, rest, refused = take_packet(data)
    assert packet is None or refused >= 0
    assert data.endswith(rest)


@given(NASTY, st.integers(1, 252), DATA)
def test_garbage_before_a_packet_is_skipped(garbage: bytes, id: int, params: bytes) -> None:
    packet = encode_status(id, 0, params)
    taken, rest, refused = take_packet(garbage + packet)
    assert taken == Packet(id, Instruction.STATUS, 0, params)
    assert rest == b""
    assert (refused > 0) == bool(garbage)


@given(st.lists(st.tuples(st.integers(0, 252), DATA), max_size=4), st.integers(1, 7))
def test_packets_arrive_in_any_pieces(packets: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(encode_status(id, 0, params) for id, params in packets)
    buffer, found = b"", []
    for start in range(0, len(stream), size):
        buffer += stream[start : start + size]
        while True:
            packet, buffer, refused = take_packet(buffer)
            assert refused == 0
            if packet is None:
                break
            found.append((packet.id, packet.params))
    assert found == packets and buffer == b""


def test_a_half_received_packet_stays() -> None:
    packet = encode_status(9, 0, b"\x01\x02\x03")
    for end in range(len(packet)):
        assert take_packet(packet[:end]) == (None, packet[:end], 0)


def test_a_packet_cut_short_is_refused_once_the_next_begins() -> None:
    first, second = encode_status(1, 0, bytes(20)), encode_status(2, 0, bytes(20))
    assert take_packet(first[:12] + second)[0] == Packet(2, Instruction.STATUS, 0, bytes(20))
    # As soon as the second header is there, not only once enough bytes have come.
    assert take_packet(first[:12] + second[:5]) == (None, second[:5], 1)


@pytest.mark.parametrize("id", [253, 255])
def test_ids_that_no_device_has_are_refused(id: int) -> None:
    assert take_packet(encode_status(id, 0)) == (None, b"", 1)


def test_an_absurd_length_is_not_waited_for() -> None:
    assert take_packet(b"\xff\xff\xfd\x00\x01\xff\xff\x55\x00") == (None, b"", 1)


# --- fast sync read -------------------------------------------------------------------------------

BLOCKS = st.integers(1, 12).flatmap(
    lambda length: st.lists(
        st.tuples(
            st.integers(0, 252),
            st.sampled_from([0, ALERT]),
            st.one_of(
                st.binary(min_size=length, max_size=length),
                st.lists(st.sampled_from([0xFF, 0xFD, 0]), min_size=length, max_size=length).map(
                    bytes
                ),
            ),
        ).map(lambda parts: Block(*parts)),
        min_size=1,
        max_size=5,
        unique_by=lambda block: block.id,
    )
)


@given(BLOCKS, DATA)
def test_fast_reply_round_trip(blocks: list[Block], behind: bytes) -> None:
    ids, length = [block.id for block in blocks], len(blocks[0].data)
    reply = encode_fast_status(blocks)
    assert take_fast_status(reply + behind, ids, length) == (tuple(blocks), behind, 0)


def test_fast_reply_with_a_header_in_its_data_is_not_unstuffed() -> None:
    # Current -1 and velocity -3 put FF FF FD into the data of a motor at rest.
    resting = b"\xff\xff" + b"\xfd\xff\xff\xff" + b"\x00\x08\x00\x00"
    stuffed_looking = b"\xff\xff\xfd\xfd\xff\xff\xfd\x00\x08\x00"
    blocks = [Block(1, 0, resting), Block(2, 0, stuffed_looking)]
    reply = encode_fast_status(blocks)
    assert resting in reply and stuffed_looking in reply
    assert take_fast_status(reply, [1, 2], 10) == (tuple(blocks), b"", 0)


@given(BLOCKS, st.data())
def test_truncated_fast_reply_keeps_whole_blocks(blocks: list[Block], data: st.DataObject) -> None:
    ids, length = [block.id for block in blocks], len(blocks[0].data)
    reply = encode_fast_status(blocks)
    end = data.draw(st.integers(0, len(reply) - 1))
    kept, rest, refused = take_fast_status(reply[:end], ids, length)
    whole = max(0, (end - 8) // (length + 4))
    assert kept == tuple(blocks[:whole])
    assert rest == reply[:end] and refused == 0


@given(BLOCKS, st.data())
def test_flipped_bit_of_a_fast_reply_keeps_only_the_blocks_before_it(
    blocks: list[Block], data: st.DataObject
) -> None:
    ids, length = [block.id for block in blocks], len(blocks[0].data)
    reply = encode_fast_status(blocks)
    bit = data.draw(st.integers(0, 8 * len(reply) - 1))
    kept, _, _ = take_fast_status(flip(reply, bit), ids, length)
    before = max(0, (bit // 8 - 8) // (length + 4))
    assert kept == (tuple(blocks[:before]) if bit // 8 >= 8 else ())


def test_fast_reply_of_another_length_is_refused() -> None:
    late = encode_fast_status([Block(1, 0, bytes(12)), Block(2, 0, bytes(12))])
    blocks, _, refused = take_fast_status(late, [1, 2], 10)
    assert blocks == () and refused == 1


@given(st.binary(max_size=80))
def test_fast_reply_of_any_bytes_does_not_raise(data: bytes) -> None:
    take_fast_status(data, [1, 2], 4)


# --- registers ------------------------------------------------------------------------------------


def test_registers_by_hand() -> None:
    assert xseries.pack(xseries.GOAL_POSITION, -1) == b"\xff\xff\xff\xff"
    assert xseries.pack(xseries.GOAL_CURRENT, 570) == b"\x3a\x02"
    assert xseries.unpack(xseries.BUS_WATCHDOG, b"\xff") == xseries.WATCHDOG_TRIPPED
    assert xseries.unpack(xseries.PRESENT_VOLTAGE, b"\x77\x00") == 119
    with pytest.raises(OverflowError):
        xseries.pack(xseries.TORQUE_ENABLE, 256)
    with pytest.raises(ValueError, match="found 1 bytes, allowed is 4"):
        xseries.unpack(xseries.PRESENT_POSITION, b"\x00")


def test_registers_do_not_overlap() -> None:
    spans = sorted((r.address, r.address + r.size) for r in REGISTERS)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@given(st.sampled_from(REGISTERS), st.data())
def test_register_round_trip(register: xseries.Register, data: st.DataObject) -> None:
    bits = 8 * register.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if register.signed else (0, (1 << bits) - 1)
    value = data.draw(st.integers(low, high))
    assert xseries.unpack(register, xseries.pack(register, value)) == value
