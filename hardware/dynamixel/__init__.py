"""DYNAMIXEL X-series motors: the protocol's bytes, the bus, the control table, the motors on it."""
