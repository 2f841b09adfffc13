"""The HTTP edges. They translate between the wire and the use case, and decide nothing."""
