"""Checkpoints: what goes in comes out, and a crash never leaves half a file."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from surefoot.control.checkpoint import load, save
from surefoot.models.errors import UsageError

STATE = {
    "tensor": torch.arange(6.0).reshape(2, 3),
    "nested": {"array": np.arange(4, dtype=np.int64), "flags": np.array([True, False])},
    "random": np.random.default_rng(7).bit_generator.state,  # integers of 128 bits
    "scalar": np.float64(0.1),
    "zero_dimensional": np.array(2.5),
    "list": [1, "two", None, (3.0, np.array([4], np.uint8))],
}


def test_what_goes_in_comes_out(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    state = load(path)
    assert torch.equal(state["tensor"], STATE["tensor"])
    for name, array in STATE["nested"].items():
        np.testing.assert_array_equal(state["nested"][name], array)
        assert state["nested"][name].dtype == array.dtype
    assert state["random"] == STATE["random"]
    assert state["scalar"] == 0.1
    assert state["zero_dimensional"].shape == ()
    assert state["list"][:3] == [1, "two", None]
    assert state["list"][3][0] == 3.0
    assert state["list"][3][1].dtype == np.uint8
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_random_generator_goes_on_from_a_checkpoint(tmp_path: Path):
    rng = np.random.default_rng(3)
    rng.normal(size=5)
    save(tmp_path / "c", {"random": rng.bit_generator.state})
    expected = rng.normal(size=5)
    again = np.random.default_rng(0)
    again.bit_generator.state = load(tmp_path / "c")["random"]
    np.testing.assert_array_equal(again.normal(size=5), expected)


KILLED = """
import os, signal, sys
from pathlib import Path
from surefoot.control import checkpoint
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save(Path(sys.argv[1]), {"number": 2})
"""


def test_kill_during_a_save_leaves_the_old_checkpoint(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    save(path, {"number": 1})
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "checkpoint.pt.partial").exists()
    assert load(path) == {"number": 1}
    save(path, {"number": 3})  # what the dead one left is in nobody's way
    assert load(path) == {"number": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "checkpoint.pt"
    save(path, {"number": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, {"number": 2})
    assert load(path) == {"number": 1}


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_half_a_checkpoint_is_refused(tmp_path: Path, keep: int):
    path = tmp_path / "checkpoint.pt"
    save(path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match="not a whole checkpoint"):
        load(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"format": 1, "state": subprocess.run}, path)
    with pytest.raises(UsageError, match="not a whole checkpoint"):
        load(path)


def test_another_format_is_refused(tmp_path: Path):
    torch.save({"format": 99, "state": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match="found format 99, allowed is 5"):
        load(tmp_path / "checkpoint.pt")
