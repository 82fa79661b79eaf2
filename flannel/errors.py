"""The base class of every error that is meant for a user."""


class FlannelError(ValueError):
    """An error whose message is a sentence for the user: what came, what was expected, what to do.

    Commands print it and end with status 1; any other exception is a fault of the program and keeps
    its traceback.
    """


class OptionError(FlannelError):
    """An option of a value that cannot be used."""
