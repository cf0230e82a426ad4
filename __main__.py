"""The command `surefoot`: a verb's module is imported only when that verb runs."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import tyro

from . import __version__
from .models.errors import RenderError, SurefootError

VERBS = {
    "train": "learn a policy in simulation",
    "evaluate": "measure a policy in simulation",
    "play": "drive a policy in simulation by keyboard",
    "export": "turn a training run into one ONNX file",
    "emulate": "run an emulated robot behind pseudo-terminals",
    "deploy": "run a policy on a robot",
    "release": "switch off the torque of a robot that was left under it",
    "replay": "compare a logged run with its policy, or with the simulation",
    "log": "look into a log",
    "demo": "let an emulated robot walk or reach, from policy to replay",
}

USAGE = "\n".join(
    [
        "usage: surefoot VERB [OPTIONS]     (surefoot VERB --help says more)",
        "",
        *(f"  {verb:10} {meaning}" for verb, meaning in VERBS.items()),
    ]
)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb.

    Exit status: 0 done, 1 ended in a fault, 2 could not be done as asked; 130 and 141 as a shell
    reports Ctrl-C and a pipe that nobody reads.
    """
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()  # lest a pipe that nobody reads is found only at Python's end
    except BrokenPipeError:
        # What is left in the buffer must go somewhere, or Python complains of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _run(words: list[str]) -> int:
    """Run the verb that `words` begin with; its exit status."""
    if words in (["--version"], ["-V"]):
        print(f"surefoot {__version__}")
        return 0
    if not words or words[0] in ("--help", "-h"):
        print(USAGE)
        return 0 if words else 2
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        print(f"surefoot: found '{verb}', allowed is one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    if verb == "log" and rest and Path(rest[0]).suffix == ".mcap":
        print(f"surefoot log: what of it? say: surefoot log info {rest[0]}", file=sys.stderr)
        return 2
    try:
        module = _module(verb)
        # Which options a verb has may depend on its words.
        choose = getattr(module, "arguments_for", lambda words: module.Arguments)
        # Flags are written as they change something: no --no-yes beside --yes.
        config = (tyro.conf.FlagCreatePairsOff,)
        return module.run(tyro.cli(choose(rest), prog=f"surefoot {verb}", args=rest, config=config))
    except SurefootError as error:
        print(f"surefoot {verb}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except OSError as error:
        words = [str(word) for word in (error.filename, error.strerror or error) if word]
        print(f"surefoot {verb}: {': '.join(words)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"surefoot {verb}: stopped", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        extra = {"torch": "train", "onnx": "train", "tensorboard": "train", "pybullet": "sim2sim"}
        package = (error.name or "").split(".")[0]
        if package == "surefoot":
            raise
        wanted = extra.get(package, "sim")
        print(
            f"surefoot {verb}: needs the package '{package}': pip install 'surefoot[{wanted}]'",
            file=sys.stderr,
        )
        return 2


def _module(verb: str) -> Any:
    """A verb's module. Raises RenderError where MuJoCo cannot even be imported as it is told."""
    try:
        return importlib.import_module(f".cli.{verb}", __package__)
    except (RuntimeError, AttributeError) as error:
        # Its import loads the renderer that this variable names, and fails in one of these ways.
        if chosen := os.environ.get("MUJOCO_GL"):
            words = f"MUJOCO_GL={chosen} cannot be used here ({error}); leave it unset"
            raise RenderError(words) from None
        raise


if __name__ == "__main__":
    sys.exit(main())
