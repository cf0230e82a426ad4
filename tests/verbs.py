"""The verbs of the command, called as a person would: what they print, what they refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from surefoot.__main__ import main


def succeed(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """What a command prints."""
    assert main(list(words)) == status
    out, err = capsys.readouterr()
    assert err == ""
    return out


def succeed_with_json(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    """The object on the last line of what a command prints."""
    return json.loads(succeed(capsys, *words, "--json", status=status).splitlines()[-1])


def refuse(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line on stderr of a command that cannot be done as asked."""
    assert main(list(words)) == 2
    err = capsys.readouterr().err
    assert err.endswith("\n") and err.count("\n") == 1, err
    assert err.startswith(f"surefoot {words[0]}: ")
    return err
