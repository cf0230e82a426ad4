"""N robots in one vector environment: what all tasks share.

A task is a subclass: what it says is in `robot_task.py`. Here are actions and their limiter,
observation, autoreset, statistics and resuming.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from ..models.errors import UsageError
from ..models.limits import Limits, Output, limit_target, limit_torque
from ..models.observation import Term, observe, stack_observations, width
from ..models.task import Mirror
from .randomisation import Variation
from .randomiser import Randomiser
from .robot_batch import RobotBatch
from .robot_task import RobotTask

LONGEST_HISTORY = 100  # observations
TORQUE_LIMIT = 3.0  # of each action that stands for a torque, in thirds of the torque limit


class RobotEnv(RobotTask, gym.vector.VectorEnv):
    """N robots at a task; SAME_STEP autoreset, the true last observation in `infos["final_obs"]`.

    Observation (N, D) and action (N, n), for a robot of n joints, are float32. With a history of H
    the actor's observation is that of the last H steps side by side, the newest first; the first
    one of an episode stands for those before it. The critic's has the newest only: beside it lies
    the truth, of which the others are hints. The bits depend on the seed alone, not on the number
    of threads. Beyond Gymnasium it offers what `TaskEnv` and `DeployableTask` in `models/task.py`
    describe.
    """

    def __init__(
        self,
        robots: RobotBatch,
        terms: tuple[Term, ...],
        target_scale: float,
        target_limit: float,
        reward_names: Sequence[str],
        mirror: Mirror | None,
        randomisation: Sequence[Variation],
        history: int,
    ) -> None:
        """The environments; call `reset` before the first `step`.

        Args:
            robots: N simulated robots, from here on this environment's.
            terms: of the observation.
            target_scale: joint target = default pose + target_scale · action [rad]; under torques,
                torque = a third of the torque limit · action instead [N·m].
            target_limit: of each action that stands for a target: every joint reaches its limits
                within it.
            reward_names: of the reward's terms, in their order.
            mirror: the task's left-right symmetry, if it has one.
            randomisation: what varies from episode to episode, and during one.
            history: H, observations that the actor sees.

        Raises:
            UsageError: the robots have nothing for one of the variations, or no such history.
        """
        if not 1 <= history <= LONGEST_HISTORY:
            raise UsageError(f"history: found {history}, allowed is 1 to {LONGEST_HISTORY}")
        self.robots, self.robot, self.num_envs = robots, robots.robot, robots.num_envs
        self.output: Output = robots.output
        self.metadata = {"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP}
        self.period = self.robot.control_period
        self.terms, self.history = terms, history
        self.mirror = mirror and replace(mirror, observation=mirror.observation.repeated(history))
        self.randomisation = tuple(randomisation)
        self.randomiser = Randomiser(self.randomisation, robots)
        torque = self.output == "joint_torque"
        thirds = tuple((self.robot.torque_limit / TORQUE_LIMIT).tolist())
        self.action_scale = thirds if torque else target_scale
        self.action_limit = TORQUE_LIMIT if torque else target_limit
        self.limits = Limits.of(self.robot, self.output)

        num_envs, n = self.num_envs, len(self.robot.joints)
        columns = width(terms, self.robot, len(self.commands))
        observation = gym.spaces.Box(-np.inf, np.inf, (history * columns,), np.float32)
        action = gym.spaces.Box(-self.action_limit, self.action_limit, (n,), np.float32)
        self.single_observation_space, self.single_action_space = observation, action
        self.observation_space = batch_space(observation, num_envs)
        self.action_space = batch_space(action, num_envs)

        self.command = np.zeros((num_envs, len(self.commands)))
        self.next_command = np.full(num_envs, np.inf)  # when it is drawn anew [s]
        self.ticks = np.zeros(num_envs, np.int64)  # since the episode began
        self.action = np.zeros((num_envs, n))  # the previous one, raw
        self.target = np.zeros((num_envs, n))  # the previous one, as limited [rad], or [N·m]
        self.reasons = np.zeros((num_envs, n), np.uint8)  # why the limiter changed it
        self.reward_names = tuple(reward_names)
        self.reward_sums = np.zeros((len(self.reward_names), num_envs))  # of the episode
        self.inputs: dict[str, np.ndarray] = {}  # of the controller, by name
        self.previous_observations = np.zeros((num_envs, (history - 1) * columns), np.float32)
        self.privileged = np.zeros((num_envs, 0), np.float32)
        self.final_privileged = self.privileged

    # --- Gymnasium ----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start every episode anew. Returns observations (N, D) and an empty dict.

        With a seed all is as it was after this seed's first reset: on terrain, the levels are the
        first ones again. Without one they stay as they were earned.
        """
        if seed is not None:
            self.np_random, self._np_random_seed = gym.utils.seeding.np_random(seed)
        if self.curriculum:
            self.curriculum.forget(earned=seed is not None)
        self._reset(np.arange(self.num_envs))
        return self._observe(), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One control period under `actions` (N, n). Episodes that end start anew in the same step.

        Returns observations (N, D), rewards (N,), terminated and truncated (N,) and infos; where an
        episode ended these hold the true last observations `final_obs` (N, D), with `_final_obs`
        (N,) saying in which rows, and `statistics` (N,) by name.

        Raises:
            NonFiniteError: some action is NaN or infinite; the physics stands still then.
        """
        observation, reward, terminated, truncated, infos = self.advance(actions)
        done = terminated | truncated
        if done.any():
            infos["final_obs"], infos["_final_obs"] = observation, done
            self.final_privileged = self.privileged
            self._reset(np.flatnonzero(done))
            observation = self._observe(done, observation)
        return observation, reward, terminated, truncated, infos

    def advance(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`step` without the autoreset: episodes that ended stay where they ended."""
        self.randomiser.advance(self.time, self.np_random)
        scaled = np.asarray(self.action_scale) * np.asarray(actions, np.float64)
        target = self._limit(scaled)
        self.robots.step(target)
        self.ticks += 1

        terms = self.reward_terms(actions, target)
        # Floored, so that ending early never pays; a diverged simulation earns nothing.
        reward = np.nan_to_num(np.maximum(0.0, sum(terms.values()))).astype(np.float32)
        reward[self.diverged] = 0.0
        self.reward_sums += np.nan_to_num(np.stack([terms[name] for name in self.reward_names]))
        self.action[:], self.target[:] = actions, target
        ends = self.ends()
        terminated = np.logical_or.reduce(list(ends.values()))
        truncated = (self.ticks >= self.episode_ticks) & ~terminated
        self.go_on()
        self._command(np.flatnonzero(self.time >= self.next_command))
        observation = self._observe()
        infos: dict[str, Any] = {}
        if (terminated | truncated).any():
            infos["statistics"] = self.statistics(ends)
        return observation, reward, terminated, truncated, infos

    def set_commands(self, command: np.ndarray) -> None:
        """Command every robot until its episode ends: at once in `inputs`. Shape (N, c).

        The last observation stays as it was returned: the next one shows the command.
        """
        self.command[:], self.next_command[:] = command, np.inf
        self.inputs["command"] = self.command.astype(np.float32)

    def render(self) -> tuple[np.ndarray, ...]:
        """The first robot, as an RGB image in a tuple of one."""
        from .video import snapshot

        return (snapshot(self.robots),)

    def _command(self, ids: np.ndarray) -> None:
        """Command robots `ids` (k,) anew, until it is time again."""
        if not len(ids):
            return
        self.command[ids] = self.draw_commands(ids)
        if self.command_time:
            lasts = self.np_random.uniform(*self.command_time, len(ids))
            self.next_command[ids] = self.time[ids] + lasts

    def _limit(self, wanted: np.ndarray) -> np.ndarray:
        """Scaled actions as joint targets [rad] or torques [N·m] that the limits allow. (N, n)."""
        pos, vel = self.inputs["joint_pos"], self.inputs["joint_vel"]
        if self.output == "joint_torque":
            limited, self.reasons = limit_torque(self.limits, wanted, pos, vel)
        else:
            wanted = self.robot.default_pose + wanted
            limited, self.reasons = limit_target(self.limits, wanted, self.target, pos, vel)
        return limited

    def statistics(self, ends: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of the episodes so far, by name, where one ends: the reward by term, and what ended it.

        Arrays of shape (N,).
        """
        means = self.reward_sums / np.maximum(self.ticks, 1)
        return {
            **{f"reward/{name}": mean for name, mean in zip(self.reward_names, means, strict=True)},
            **{f"end/{cause}": where.astype(float) for cause, where in ends.items()},
        }

    # --- where the episodes are ---------------------------------------------------------------

    @property
    def episode_ticks(self) -> int:
        """Steps after which an episode is cut."""
        return round(self.episode_time / self.period)

    @property
    def time(self) -> np.ndarray:
        """Since the episode began [s]. Shape (N,)."""
        return self.ticks * self.period

    @property
    def clock(self) -> np.ndarray:
        """`time`, wrapped to the clock's period [s]. Shape (N, 1)."""
        return (self.ticks % round(self.clock_period / self.period) * self.period)[:, None]

    @property
    def diverged(self) -> np.ndarray:
        """Whose simulation did since its episode began. bool, shape (N,)."""
        return self.robots.diverged

    @property
    def drawn(self) -> dict[str, np.ndarray]:
        """What varies of the episodes, by name; NaN: not drawn yet. Each (N, m)."""
        return self.randomiser.drawn

    @property
    def pushed(self) -> np.ndarray:
        """Whom a push hit in the last step. bool, shape (N,)."""
        return self.randomiser.pushed

    def _reset(self, ids: np.ndarray) -> None:
        self.randomiser.reset(ids, self.np_random)
        qpos, qvel = self.initial_state(ids)
        self.robots.reset(ids, qpos, qvel)
        self.ticks[ids] = 0
        self.action[ids] = 0.0
        held = self.robots.joint_pos[ids] + self.robots.sensor_errors.encoder_offset[ids]
        self.target[ids] = held if self.output == "joint_target" else 0.0
        self.reward_sums[:, ids] = 0.0
        self.begin(ids)
        self._command(ids)
        self.randomiser.schedule(ids, self.np_random)

    # --- observation --------------------------------------------------------------------------

    def _observe(
        self, done: np.ndarray | None = None, last: np.ndarray | None = None
    ) -> np.ndarray:
        """Measure all robots; with `done` (N,), the others' rows stay as in the `last` one."""
        inputs = {
            **self.robots.measure(self.np_random),
            "command": self.command,
            "previous_action": self.action,
            "clock": self.clock,
        }
        inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
        observation = observe(self.terms, inputs, np)
        begins = self.ticks[:, None] == 0
        stacked = stack_observations(observation, self.previous_observations, begins, np)
        truth = self.privileged_parts()
        privileged = np.concatenate((observation, *truth), -1, dtype=np.float32)
        if done is not None and last is not None:
            # Into new arrays: whoever got those before still reads the old episode in them.
            new = done[:, None]
            inputs = {k: np.where(new, v, self.inputs[k]) for k, v in inputs.items()}
            stacked = np.where(new, stacked, last)
            privileged = np.where(new, privileged, self.privileged)
        self.inputs, self.privileged = inputs, privileged
        self.previous_observations = stacked[:, : -observation.shape[1]].copy()
        return stacked

    # --- resuming -----------------------------------------------------------------------------

    _STATE: tuple[str, ...] = (
        "command",
        "next_command",
        "ticks",
        "action",
        "target",
        "reasons",
        "reward_sums",
        "privileged",
        "previous_observations",
    )

    def get_state(self) -> dict[str, Any]:
        """Everything that the future depends on: arrays and the random generator's state."""
        return {
            "robots": self.robots.get_state(),
            "arrays": {name: getattr(self, name).copy() for name in self._STATE},
            "inputs": {name: value.copy() for name, value in self.inputs.items()},
            "randomiser": self.randomiser.get_state(),
            "random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from what `get_state` gave, bit for bit."""
        self.robots.set_state(state["robots"])
        for name, value in state["arrays"].items():
            setattr(self, name, value.copy())
        self.inputs = {name: value.copy() for name, value in state["inputs"].items()}
        self.randomiser.set_state(state["randomiser"])
        self.np_random.bit_generator.state = state["random"]
