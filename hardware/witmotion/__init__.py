"""WitMotion IMUs: the protocol's bytes, and the stream of one IMU."""
