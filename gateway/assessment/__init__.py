"""The use case: one request in, one judged, scored, audited answer out. Pure; the world comes in through ports."""
