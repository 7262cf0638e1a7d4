"""Why no source could be made. The message says what, where, and what to do."""


class ScaffoldError(Exception):
    """There is no sample to make a source from, or none that a source can be made from."""
