"""The floor: who is here, what is under way, and the one heartbeat. Written against the ports of ``core`` alone."""
