"""docs/examples/: each example is started as its page says, and used, against a real gateway and a real Redis."""
