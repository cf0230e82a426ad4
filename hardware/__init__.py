"""Wires: serial ports, motor and IMU protocols, the robot behind them, the emulated devices."""
