"""What load_spec and spec_from_document say of what they refuse."""

import pytest

from normalfit.errors import InputError
from normalfit.specs import load_spec, spec_from_document


def refusal(path):
    with pytest.raises(InputError) as caught:
        load_spec(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def refusal_of(document, arrays=None):
    with pytest.raises(InputError) as caught:
        spec_from_document(document, arrays or {})
    return str(caught.value)
