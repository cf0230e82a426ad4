"""What the peers learn a robot's task with, as it is published for such tasks.

Isaac Lab's settings (github.com/isaac-sim/IsaacLab, isaaclab_tasks/manager_based) for rsl_rl:
locomotion/velocity/config/go1/agents/rsl_rl_ppo_cfg.py, the flat task's, and
manipulation/reach/config/franka/agents/rsl_rl_ppo_cfg.py; for Stable-Baselines3:
locomotion/velocity/config/a1/agents/sb3_ppo_cfg.yaml, with the widths of the flat task, and for
reaching rsl_rl's epochs, entropy and widths. As there, rewards are multiplied by the control
period (walkers.py). Three things differ: observations are normalised for rsl_rl, too, since ours
are in SI units; there are fewer environments than a GPU's 4096, so that there are more updates in
the time; and rsl_rl's first episodes do not begin at random ages, since a gait has a clock.
"""

from __future__ import annotations

from typing import Any

NUM_ENVS = 512
EPOCHS = {"walk": 5, "reach": 8}
ENTROPY = {"walk": 0.01, "reach": 0.001}
HIDDEN = {"walk": [128, 128, 128], "reach": [64, 64]}


def rsl_rl_settings(task: str) -> dict[str, Any]:
    """For rsl_rl's runner."""
    network = {
        "class_name": "MLPModel",
        "hidden_dims": HIDDEN[task],
        "activation": "elu",
        "obs_normalization": True,
    }
    gaussian = {"class_name": "GaussianDistribution", "init_std": 1.0}
    return {
        "num_steps_per_env": 24,
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": {**network, "distribution_cfg": gaussian},
        "critic": network,
        "algorithm": {
            "class_name": "PPO",
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "clip_param": 0.2,
            "entropy_coef": ENTROPY[task],
            "num_learning_epochs": EPOCHS[task],
            "num_mini_batches": 4,
            "learning_rate": 1e-3,
            "schedule": "adaptive",
            "gamma": 0.99,
            "lam": 0.95,
            "desired_kl": 0.01,
            "max_grad_norm": 1.0,
        },
    }


def sb3_settings(task: str) -> dict[str, Any]:
    """For Stable-Baselines3's PPO; `normalise` is for its VecNormalize, `network` its policy's."""
    return {
        "n_steps": 24,
        "batch_size": NUM_ENVS * 24 // 4,
        "n_epochs": EPOCHS[task],
        "gamma": 0.99,
        "gae_lambda": 0.95,
        "ent_coef": 0.005 if task == "walk" else ENTROPY[task],
        "learning_rate": 1e-3,
        "clip_range": 0.2,
        "vf_coef": 1.0,
        "max_grad_norm": 1.0,
        "normalise": {"norm_obs": True, "norm_reward": False, "clip_obs": 10.0},
        "network": {
            "net_arch": HIDDEN[task],
            "ortho_init": False,
            "optimizer_kwargs": {"eps": 1e-8},
        },
    }
