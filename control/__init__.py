"""Learning: policies, PPO and the parts that the rest of the policy-gradient family shares."""
