"""A stored record that cannot be read as its document's format says."""


class UnreadableRecordError(ValueError):
    """The record is kept in raw and rejected; `rule` is a stable name, the message is for people."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule
