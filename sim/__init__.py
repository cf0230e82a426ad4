"""Worlds: batched MuJoCo environments, tasks, randomisation, and the plant behind an emulated robot."""
