"""Exceptions of espalier. Their text is what the program prints after ``error: ``."""


class Error(Exception):
    """What went wrong in espalier; base of the others."""


class UsageError(Error, ValueError):
    """A wrong argument: what the program ends with status 2 for."""


class FormatError(Error, ValueError):
    """A file that is missing, broken or does not fit the others, or that cannot be written."""


class UnsupportedError(Error, NotImplementedError):
    """Something that this version does not have; the text names the operator or feature."""


class ToleranceError(Error):
    """What was written is out of tolerance, or lost more than was allowed: what the program ends with status 3 for.

    Attributes:
        report: the report of the command, with the verdicts.
    """

    def __init__(self, text: str, report: object = None) -> None:
        super().__init__(text)
        self.report = report
