"""Learning: policies, PPO, SAC and the parts that the rest of the family shares."""

import os

# Before torch is loaded: its threads sleep between products instead of spinning, which starved the
# simulator's threads (and on two busy cores made learning ten times slower).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
