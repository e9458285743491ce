"""The domain's no: a sentence that a person can act on."""


class Refused(Exception):
    """What was asked cannot be done to what there is: another state would be needed first."""


class Invalid(Refused):
    """What was asked makes no sense in any state. `where` is a path into the request, such as `steps/2/parents/0`."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class Unknown(Refused):
    """There is no such thing."""
