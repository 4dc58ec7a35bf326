"""The options that an operator can set, and how they are read."""
