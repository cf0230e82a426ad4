"""The Go1-class dog: robot.toml, its MJCF and its trained policies."""
