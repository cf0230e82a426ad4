"""`surefoot export`: a training run as one ONNX file."""

from __future__ import annotations

import json as jsonlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from ..control import checkpoint
from ..control.train import CHECKPOINT
from ..deploy.contract import Contract
from ..deploy.export import export_policy
from ..deploy.log_format import POLICY_FILE
from ..models.errors import UsageError
from ..sim.walk import WalkEnv
from .terminal import open_console, require_file

CHECKED_TOGETHER = 16  # robots in the rollout that compares torch with ONNX Runtime


@dataclass(frozen=True)
class Arguments:
    """Write a run's policy with its whole contract into one ONNX file, checked against torch."""

    run: tyro.conf.Positional[Path]
    """The run's folder, as `surefoot train` leaves it, or the checkpoint in it."""
    out: Path | None = None
    """The file to write; policy.onnx in the run's folder if not given."""
    seed: int = 0
    """Of the rollout in which torch and ONNX Runtime are compared."""
    json: bool = False
    """End with one JSON object on the last line."""


def run(arguments: Arguments) -> int:
    """Export the policy in the run's checkpoint."""
    folder = arguments.run.parent if arguments.run.is_file() else arguments.run
    out = arguments.out or folder / POLICY_FILE
    if arguments.out:
        require_file(arguments.out, "--out")
    contract = export_run(arguments.run, out, arguments.seed)
    open_console().print(
        f"{out}: for {contract.robot}, {len(contract.golden)} golden pairs, "
        f"torch and ONNX Runtime agree within {contract.tolerance:g}",
        soft_wrap=True,
    )
    if arguments.json:
        print(jsonlib.dumps({"policy": str(out), "robot": contract.robot}))
    return 0


def export_run(run_dir: Path, out: Path, seed: int = 0) -> Contract:
    """Export the policy in a run's checkpoint. Raises UsageError and PolicyError."""
    path = run_dir / CHECKPOINT if run_dir.is_dir() else run_dir
    state = checkpoint.load(path)
    policy = checkpoint.load_policy(path)
    about = state["about"]
    if about.get("task") != "walk":
        raise UsageError(f"{path}: found task {about.get('task')}, allowed is walk")
    env = WalkEnv(CHECKED_TOGETHER, about["robot"])
    return export_policy(policy, env, out, _training(state), {}, seed)


def _training(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "algorithm": state.get("algorithm", "ppo"),
        "config": state["config"],
        "seed": state["seed"],
        "steps": state["progress"]["steps"],
        "seconds": state["progress"]["elapsed"],
        **state["about"],
    }
