import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaleidoscope.manifest import (
    ANEW,
    COLUMNS,
    FAILED,
    OK,
    SOME,
    PartName,
    Row,
    from_parquet,
    params_text,
    that_count,
    to_parquet,
)
from kaleidoscope.record import Step

HEX = st.text("0123456789abcdef", min_size=8, max_size=8)
PARTS = st.builds(PartName, st.integers(0, 10**8 - 1), st.integers(0, 999), HEX, HEX | st.just("some"), st.booleans())
ROW = Row(
    key="cat/1.jpg",
    variant="hflip",
    params="[]",
    seed=7,
    recipe_id="r",
    source="/photos/cat/1.jpg",
    source_size=90_000,
    source_etag="e",
    source_pages=1,
    environment="here",
)
DONE = replace(
    ROW,
    status=OK,
    output="cat/1__hflip.jpg",
    width=4,
    height=3,
    channels=3,
    dtype="uint8",
    bytes=99,
    checksum=2**32 - 1,
)


class TestPartName:
    @given(PARTS)
    def test_is_read_as_it_was_written(self, part):
        assert PartName.parse(str(part)) == part

    @given(PARTS, PARTS)
    def test_sorts_as_text_as_it_does_by_block_and_serial(self, one, other):
        if (one.block, one.serial) < (other.block, other.serial):
            assert str(one) < str(other)
            assert one < other

    @given(PARTS, PARTS)
    def test_is_another_for_another_part(self, one, other):
        assert (str(one) == str(other)) == (one == other)

    def test_is_pinned(self):
        # Targets that were written before must be found as they are.
        assert str(PartName(12, 3, "0123abcd", "89ef4567")) == "00000012.003.0123abcd.89ef4567.ok.parquet"
        assert str(PartName(0, 0, "0123abcd", "some", failures=True)) == ("00000000.000.0123abcd.some.failed.parquet")

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "run.json",
            "00000012.003.0123abcd.89ef4567.ok.parquet.tmp",
            "x00000012.003.0123abcd.89ef4567.ok.parquet",
            "12.003.0123abcd.89ef4567.ok.parquet",
            "00000012.003.0123ABCD.89ef4567.ok.parquet",
            "00000012.003.0123abcd.89ef4567.parquet",
            "00000012-003-0123abcd-89ef4567-ok-parquet",
        ],
    )
    def test_of_another_file_is_none(self, name):
        assert PartName.parse(name) is None


class TestPartsThatCount:
    def test_are_all_where_none_was_written_anew(self):
        parts = [PartName(0, serial, "00000000", SOME) for serial in (2, 0, 1)]
        assert [part.serial for part in that_count(parts)] == [0, 1, 2]

    def test_are_those_since_the_last_that_was(self):
        leaves = [SOME, ANEW, SOME, ANEW, SOME]
        parts = [PartName(0, serial, "00000000", each) for serial, each in enumerate(leaves)]
        assert [part.serial for part in that_count(parts)] == [3, 4]

    def test_have_the_one_without_failures_last(self):
        parts = [PartName(0, 1, "00000000", ANEW, failures=failed) for failed in (False, True)]
        assert [part.failures for part in that_count(parts)] == [True, False]


class TestRow:
    def test_in_a_shard_lies_in_no_file_of_its_own(self):
        row = replace(DONE, masks='{"mask":"a.mask.png"}')
        assert row.files == [DONE.output, "a.mask.png"]
        assert replace(row, shard="0.tar").files == ["0.tar"]

    def test_has_the_columns_there_are(self):
        assert {field.name for field in fields(Row)} == set(COLUMNS)

    def test_has_failed_unless_it_says_otherwise(self):
        assert (ROW.status, ROW.output, ROW.bytes) == (FAILED, None, None)


class TestParquet:
    def test_holds_the_rows(self):
        table = from_parquet(to_parquet([DONE, ROW], COLUMNS))
        assert {name: str(kind) for name, kind in zip(table.column_names, table.schema.types, strict=True)} == COLUMNS
        assert table.to_pylist() == [{name: getattr(row, name) for name in COLUMNS} for row in (DONE, ROW)]

    def test_of_no_rows_has_its_columns(self):
        table = from_parquet(to_parquet([], COLUMNS))
        assert (table.num_rows, table.column_names) == (0, list(COLUMNS))

    def test_of_columns_of_nothing_keeps_their_types(self):
        # Parts are read together: a column that is null in one of them must not change its type there.
        table = from_parquet(to_parquet([ROW], COLUMNS))
        assert str(table.schema.field("output").type) == "string"
        assert str(table.schema.field("bytes").type) == "int64"

    def test_of_equal_rows_is_equal_bytes(self):
        rows = [replace(DONE, key=f"{i}.jpg", bytes=i) for i in range(500)]
        assert to_parquet(rows, COLUMNS) == to_parquet([replace(row) for row in rows], COLUMNS)
        assert to_parquet(rows, COLUMNS) != to_parquet(rows[::-1], COLUMNS)

    def test_of_equal_rows_is_equal_bytes_in_another_process(self):
        code = (
            "import sys, pickle; from kaleidoscope.manifest import COLUMNS, to_parquet\n"
            "rows = pickle.load(sys.stdin.buffer); sys.stdout.buffer.write(to_parquet(rows, COLUMNS))"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}
        made = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps([DONE, ROW]),
            capture_output=True,
            check=True,
            env=environment,
        )
        assert made.stdout == to_parquet([DONE, ROW], COLUMNS)

    def test_gives_the_columns_that_are_asked_for(self):
        assert from_parquet(to_parquet([DONE], COLUMNS), ["output"]).to_pylist() == [{"output": DONE.output}]


def test_params_are_the_whole_chain_as_json():
    steps = [Step("hflip", {}, {}, '{"node":"hflip"}'), Step("hflip-rotate", {}, {}, '{"node":"hflip-rotate"}')]
    assert params_text(steps) == '[{"node":"hflip"},{"node":"hflip-rotate"}]'
    assert params_text([]) == "[]"
