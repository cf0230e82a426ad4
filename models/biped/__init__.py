"""The biped: robot.toml, its MJCF and its trained policies."""
