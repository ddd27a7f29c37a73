"""The schemas that are written to the documentation."""

import json

import jsonschema_rs

from scripts.schema_pages import pages


def test_every_installed_kind_has_a_valid_schema():
    """Each file is a valid schema under the name of its kind, and ends with a line."""
    made = pages()
    assert {"payload-description.json", "route.json", "as4.partner.json"} <= {path.name for path in made}
    for path, text in made.items():
        schema = json.loads(text)
        jsonschema_rs.meta.validate(schema)
        assert schema["title"] == path.stem
        assert text.endswith("}\n")
