import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpki.config.toml import Value, dump_toml, load_table
from dpki.errors import ConfigError, UsageError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN = st.one_of(
    TEXTS, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.lists(TEXTS, max_size=4)
)
TABLES = st.recursive(
    st.dictionaries(TEXTS, PLAIN, max_size=4),
    lambda inner: st.dictionaries(TEXTS, st.one_of(PLAIN, inner), max_size=4),
    max_leaves=8,
)


def without_empty_tables(values: Mapping[str, object]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            if value:
                kept[key] = without_empty_tables(value)
        else:
            kept[key] = value
    return kept


@given(TABLES)
def test_what_is_written_reads_back(values: dict[str, Value]) -> None:
    assert tomllib.loads(dump_toml(values)) == without_empty_tables(values)


def write(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.toml"


def load(path: Path):
    return load_table(path, version=1, missing="make one")


class TestLoadTable:
    def test_missing(self, file: Path) -> None:
        with pytest.raises(ConfigError, match=f"there is no {file}") as caught:
            load(file)
        assert caught.value.hint == "make one"
        assert caught.value.exit_status == 2

    def test_no_toml(self, file: Path) -> None:
        write(file, "version = ")
        with pytest.raises(ConfigError, match="is not TOML"):
            load(file)

    def test_no_text(self, file: Path) -> None:
        write(file, b"\xff\xfe")
        with pytest.raises(ConfigError, match="is not TOML"):
            load(file)

    def test_a_folder(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        with pytest.raises(ConfigError, match="could not read"):
            load(tmp_path)

    def test_too_large(self, file: Path) -> None:
        write(file, "#" * (1 << 20) + "\n")
        with pytest.raises(ConfigError, match="larger than"):
            load(file)

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_writable_by_others(self, file: Path, mode: int) -> None:
        write(file, "version = 1", mode)
        with pytest.raises(ConfigError, match="can be written by others"):
            load(file)

    @pytest.mark.parametrize("version", ["2", '"1"', "true", "-1"])
    def test_other_version(self, file: Path, version: str) -> None:
        write(file, f"version = {version}")
        with pytest.raises(ConfigError, match="version"):
            load(file)

    def test_no_version(self, file: Path) -> None:
        write(file, "")
        with pytest.raises(ConfigError, match="version is missing"):
            load(file)


class TestTable:
    def test_names_an_unknown_key_with_its_table_and_file(self, file: Path) -> None:
        table = load(write(file, "version = 1\n[access]\nconsole_acces = true"))
        inner = table.table("access")
        with pytest.raises(ConfigError) as caught:
            inner.close()
        assert caught.value.message == f"{file}: access.console_acces is not a known key"

    def test_refuses_wrong_types(self, file: Path) -> None:
        table = load(write(file, 'version = 1\na = 1\nb = "x"\nc = [1]\nd = true\ne = 1\nf = 3'))
        with pytest.raises(ConfigError, match="a must be a string"):
            table.text("a")
        with pytest.raises(ConfigError, match="b must be a whole number"):
            table.integer("b")
        with pytest.raises(ConfigError, match="c must be a list of strings"):
            table.texts("c")
        with pytest.raises(ConfigError, match="d must be a whole number"):
            table.integer("d")
        with pytest.raises(ConfigError, match="e must be true or false"):
            table.flag("e")
        with pytest.raises(ConfigError, match="f must be a table"):
            table.table("f")

    def test_takes_defaults(self, file: Path) -> None:
        table = load(write(file, "version = 1"))
        assert table.text("a", "x") == "x"
        assert table.integer("b", 3) == 3
        assert table.flag("c", False) is False
        assert table.texts("d", ()) == ()
        table.close()

    def test_a_parser_s_complaint_names_file_and_key_and_keeps_the_hint(self, file: Path) -> None:
        def refuse(text: str) -> str:
            raise UsageError(f"{text} is odd", hint="try even")

        table = load(write(file, 'version = 1\na = "x"'))
        with pytest.raises(ConfigError) as caught:
            table.parsed("a", refuse)
        assert caught.value.message == f"{file}: a is wrong: x is odd"
        assert caught.value.hint == "try even"
