"""The JSON Schema of a factor file's attributes, version 1.x, for other people's tools."""

from __future__ import annotations

from typing import Any

from normalfit.factor_file.header import Header

_OPTIONAL = {
    "type": "object",
    "properties": {"must_understand": {"const": False}},
    "required": ["must_understand"],
}


def json_schema() -> dict[str, Any]:
    """Return the schema; docs/factor-file.schema.json holds it.

    It cannot say all: that shapes fit each other is in the text of docs/factor-file.md.
    """
    schema = Header.model_json_schema()
    schema["required"] = sorted({*schema["required"], "format", "version"})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Attributes of a normalfit factor file, version 1.x",
        "additionalProperties": _OPTIONAL,
    }
