"""The arm's files: robot.toml and MJCF."""
