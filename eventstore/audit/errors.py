"""What can be wrong with what the audit is given, or finds, each with a sentence that says what to do."""


class AuditError(Exception):
    """The message is for a person."""


class Malformed(AuditError):
    """A text that is no checkpoint, or no key."""


class NotSigned(AuditError):
    """The event, or the size, that is asked for stands in no checkpoint yet."""


class Altered(AuditError):
    """What is stored is not what was signed: nothing more is signed or proved on top of it."""


class Stopped(AuditError):
    """The server ends while it verifies."""


class Busy(AuditError):
    """One verification at a time: each reads the whole log."""


class NoKey(AuditError):
    """There is no key to sign with, or it cannot be used."""
