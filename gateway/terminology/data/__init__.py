"""The tables as CSV; each is described where it is read."""
