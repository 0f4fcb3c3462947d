"""Whatever is in the file: it loads, or the error is an ``EntityConfigError``."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ai_migration.entities.config.file import load_config
from ai_migration.exceptions import EntityConfigError
from tests.unit.test_config_file import EVERY_KEY

FRAGMENTS = st.sampled_from(
    [
        *EVERY_KEY.splitlines(keepends=True),
        *("\t", "&a ", "*a ", "<<: *a\n", "!!set ", "!x ", "? ", ": ", "- ", "[", "{", "'", '"'),
        *("| ", "> ", "%YAML 1.1\n", "---\n", "...\n", "null", "2024-99-99", "0x", "1e", "\\ud800"),
        *("!!int x", "!!float x", "!!timestamp x", "!!binary x", "!!omap ", "!!bool x", "\x85"),
    ]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(FRAGMENTS, max_size=25).map("".join).map(str.encode),
    )
)
@example(b"ai-entities: &e\n  a: *e\n")
@example(b"a: &a [*a]")
def test_anything_is_a_config_or_an_entity_config_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.yml"
    path.write_bytes(content)
    problem = ""
    try:
        load_config(path)
    except EntityConfigError as error:
        problem = str(error)
    problem.encode()
    for line in filter(str.strip, problem.split("\n")):
        assert line.startswith((f"{path}:", "... and "))
