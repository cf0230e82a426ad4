"""The road to the robot: export, ONNX controller, safety, real-time loop, log, replay."""
