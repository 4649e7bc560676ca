"""The errors that an operator may cause, and can cure."""


class KingfisherError(Exception):
    """
    Something that an operator can put right.

    Its text is one sentence that names the thing, the place and the next step. Modules show it as it is.
    """


class SettingsError(KingfisherError):
    """The settings cannot be used. The text lists every problem, each with its pillar path or argument."""


class LockedError(KingfisherError):
    """Another run holds a lock. The text says who holds it, since when, and what to do."""


class ChangedError(KingfisherError):
    """A crawl, a log or an archive changed while it was read or replaced, so nothing may be concluded from it."""


class StoreError(KingfisherError):
    """The object store refused, did not answer, or does not hold what it should."""


class UnreachableError(StoreError):
    """The object store does not answer at all, so that trying the next crawl would only take longer."""
