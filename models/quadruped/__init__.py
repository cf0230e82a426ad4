"""The quadruped: robot.toml, its MJCF and its trained policies."""
