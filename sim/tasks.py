"""The tasks that Surefoot has for robots, by the names that people call them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from ..models.errors import UsageError
from ..models.limits import Output
from .randomisation import Variation
from .reach import ReachEnv
from .reach_goals import ReachGoalsEnv
from .robot_env import RobotEnv
from .walk import WalkEnv

TASKS: Mapping[str, type[RobotEnv]] = {
    "walk": WalkEnv,
    "reach": ReachEnv,
    "reach-goals": ReachGoalsEnv,
}


def make_task(
    name: str,
    num_envs: int,
    robot: str | None = None,
    output: Output = "joint_target",
    randomisation: Sequence[Variation] | None = None,
    nthread: int = 0,
    terrain: bool = False,
    history: int = 1,
) -> RobotEnv:
    """N robots at a task.

    Args:
        name: of one of `TASKS`.
        num_envs: N.
        robot: a name or path as `load_robot` takes it; the task's usual one if not given.
        output: what actions stand for.
        randomisation: what varies; what the task trains with if not given.
        nthread: threads that step the physics; 0: as many as there are processors.
        terrain: on ground that is not level.
        history: observations that the actor sees.

    Raises:
        UsageError: no such task, or not with that robot, output, randomisation, terrain or
            history.
        RobotFileError: robot.toml or the MJCF describes no possible robot.
    """
    if name not in TASKS:
        raise UsageError(f"task: found {name}, allowed are {', '.join(TASKS)}")
    task = TASKS[name]
    if output not in task.outputs:
        allowed = " or ".join(task.outputs)
        raise UsageError(f"output: found {output} for {name}, allowed is {allowed}")
    if terrain and not task.has_terrain:
        able = " or ".join(each for each, cls in TASKS.items() if cls.has_terrain)
        raise UsageError(f"terrain: found it asked for with {name}, allowed with {able}")
    options: dict[str, Any] = {"nthread": nthread, "history": history}
    if terrain:
        options["terrain"] = True
    if len(task.outputs) > 1:
        options["output"] = output
    if randomisation is not None:
        options["randomisation"] = randomisation
    make = cast("Callable[..., RobotEnv]", task)
    return make(num_envs, robot or task.usual_robot, **options)
