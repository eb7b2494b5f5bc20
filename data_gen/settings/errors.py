"""Errors that only the user can mend, which a command shows as one line."""


class InputError(ValueError):
    """Something that only the user can mend, as input that cannot be used: a command ends with this message
    alone and exit code 2.
    """


class ConfigError(InputError):
    """A setting that is unknown, missing or of the wrong kind."""
