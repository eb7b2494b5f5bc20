"""Errors that only the user can mend, which a command shows as one line; and those that concern one problem
alone.
"""


class InputError(ValueError):
    """Something that only the user can mend, as input that cannot be used: a command ends with this message
    alone and exit code 2.
    """


class ConfigError(InputError):
    """A setting that is unknown, missing or of the wrong kind."""


class ProblemFaultError(Exception):
    """A fault of one problem that says nothing of the others: its text is refused, or an answer to it breaks
    a grader. `prm-train search` counts the problem as failed and goes on; other commands end with it.

    Never one of the machine, the models, the servers or our own code: those are everybody's.
    """
