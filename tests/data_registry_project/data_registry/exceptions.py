class RecoverableException(Exception):  # noqa: N818
    """An application did not answer, or refused."""
