"""The exceptions of partunroll: one root, and one class for each thing a caller can mend."""


class PartunrollError(Exception):
    """Root of every error that partunroll raises on purpose."""


class InputError(PartunrollError, ValueError):
    """A value or a file that a caller gave does not meet its requirement."""


class NotFiniteError(InputError):
    """A result is not finite: to go on from what led to it would give the same."""


class DataStoreError(PartunrollError):
    """A data store cannot be read or written: it is none, is damaged, or has another version."""


class MismatchError(PartunrollError):
    """Two things that must describe the same operator do not."""


class CheckpointError(PartunrollError):
    """A checkpoint cannot be read: it is none, is damaged, or has another version."""


class TrainingError(PartunrollError):
    """Training cannot go on: a loss or a gradient is not finite."""


class WorkerError(PartunrollError):
    """A process that prepares batches has died."""


class RankError(PartunrollError):
    """Another of the processes that work together has failed, and said why."""


class LostRankError(RankError):
    """Another of the processes that work together is gone."""


class ReconstructionFileError(PartunrollError):
    """A reconstruction file cannot be read: it is none, is damaged, or has another version."""
