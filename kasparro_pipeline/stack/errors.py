"""What the local stack refuses, with a message that is shown to the user as it is."""


class StackError(Exception):
    """A sentence or two: what is wrong, where, and what to do."""
