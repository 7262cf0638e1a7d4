"""What the warehouse refuses, each as its own type. Driver errors are not wrapped."""


class WarehouseError(Exception):
    """Anything that the warehouse refuses by its own rules."""


class WarehouseNotConfiguredError(WarehouseError):
    """No database address is set."""


class MigrationsPendingError(WarehouseError):
    """The database is not at the revision that this code was written for."""


class HoldLostError(WarehouseError):
    """Another run has taken the source and partition over, so that this one may write nothing more (P4)."""


class RepeatedRecordError(WarehouseError):
    """A record's position in its document is stored already, or comes twice in one batch."""


class BaseReplacedError(WarehouseError):
    """Another run stored records of the source while a document was compared with what came last."""


class RawRecordMissingError(WarehouseError):
    """A raw record that a document is made up of was removed."""


class ReplayRefusedError(WarehouseError):
    """Rejected records cannot be replayed by themselves; the message says what to do instead."""
