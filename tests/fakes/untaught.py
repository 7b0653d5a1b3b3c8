"""What every fake raises."""


class Untaught(AssertionError):
    """The code under test did something that the fake machine has no answer for."""
