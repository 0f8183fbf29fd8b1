"""The factor file: reading, writing, validating and migrating it (docs/factor-file.md)."""

from normalfit.factor_file.limits import Limits
from normalfit.factor_file.metadata import FactorMetadata
from normalfit.factor_file.migration import migrate
from normalfit.factor_file.opening import load_factors, open_factors, save_factors
from normalfit.factor_file.reader import FactorFile
from normalfit.factor_file.validation import Validation, validate

__all__ = [
    "FactorFile",
    "FactorMetadata",
    "Limits",
    "Validation",
    "load_factors",
    "migrate",
    "open_factors",
    "save_factors",
    "validate",
]
