"""What a robot is: its description, its limits, what its policy sees, and the trained policies."""
