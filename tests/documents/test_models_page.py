"""The page of models agrees with the tables."""

from __future__ import annotations

import re

from tests.documents.models_page import PAGE, TABLES, render


def test_the_page_is_what_the_tables_say() -> None:
    """The page is the output of `make models-page`."""
    assert PAGE.read_text(encoding="utf-8") == render()


def test_every_row_names_its_source_and_its_date() -> None:
    """Every row of the table names its source and date."""
    for table in TABLES.values():
        for endpoint in table.values():
            assert re.search(r", 20\d\d-\d\d-\d\d$", endpoint.source)


def test_every_edit_model_is_known_itself() -> None:
    """Every edit model in the tables takes references."""
    for table in TABLES.values():
        for endpoint in table.values():
            if endpoint.edit_model is not None:
                assert table[endpoint.edit_model].reference_limit > 0
