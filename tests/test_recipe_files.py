import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import kaleidoscope as ks
from kaleidoscope import ops, registry
from kaleidoscope.errors import RecipeError
from kaleidoscope.recipe_files import recipe_schema

RECIPES = [
    [ops.HorizontalFlip(), ops.Rotate(limit=15)],
    ops.Rotate(fill=(1, 2, 3), crop_border=True),
    ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(), sizes=(0, 1)),
    ops.Sequential(
        ops.Branch(weak=ops.Rotate(5), strong=ops.Sequential(ops.Rotate(45), ops.GaussianBlur())),
        ops.Repeat(ops.OneOf(ops.GaussNoise(), ops.Sometimes(ops.HorizontalFlip(), p=0.25), weights=[1, 2]), 3),
        ops.SomeOf(ops.HorizontalFlip(), ops.GaussianBlur(), n=(0, 2)),
        ops.Split(2, 3),
    ),
    ops.Sequential(),
]


def as_one(recipe):
    return ops.PowerSet(*recipe) if isinstance(recipe, list) else recipe


@pytest.fixture
def write(tmp_path):
    def write(text, name="recipe.yaml"):
        (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.json"])
@pytest.mark.parametrize("recipe", RECIPES, ids=repr)
def test_what_was_dumped_loads_as_it_was_and_dumps_as_it_was(recipe, name, tmp_path):
    path = tmp_path / name
    ks.dump_recipe(recipe, path)
    loaded = ks.load_recipe(path)
    assert loaded == as_one(recipe)
    first = path.read_bytes()
    ks.dump_recipe(loaded, path)
    assert path.read_bytes() == first


def test_a_recipe_may_be_written_shortly(write):
    path = write("""
        kaleidoscope: 1
        recipe:
          - HorizontalFlip
          - Rotate: {limit: 15}
          - OneOf: [GaussianBlur, {GaussNoise: }]
    """)
    wanted = ops.PowerSet(ops.HorizontalFlip(), ops.Rotate(15), ops.OneOf(ops.GaussianBlur(), ops.GaussNoise()))
    assert ks.load_recipe(path) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kaleidoscope: 1\nrecipe:\n- Rotat", r"recipe.yaml:3: recipe.0: .*'Rotat'\. Did you mean 'Rotate'"),
        ("kaleidoscope: 1\nrecipe:\n- HorizontalFlip\n- Rotate:\n    limt: 3", r":4: recipe.1: .*'limt'.*'limit'"),
        ("kaleidoscope: 1\nrecipe:\n- Rotate: {limit: a lot}", r":3: recipe.0: Rotate\(limit='a lot'\): expected"),
        (
            "kaleidoscope: 1\nrecipe:\n  Sequential:\n  - HorizontalFlip\n  - OneOf:\n    - Rotate\n    - Blurr",
            r":7: recipe.Sequential.1.OneOf.1: .*'Blurr'",
        ),
        (
            "kaleidoscope: 1\nrecipe:\n  Branch:\n    branches:\n      a: Rotate\n      b: {Rotate: {fil: 1}}",
            r":6: recipe.Branch.branches.b: .*'fil'.*'fill'",
        ),
        ("kaleidoscope: 2\nrecipe: []", r":1: this recipe is of version 2.*upgrade"),
        ("kaleidoscope: one\nrecipe: []", r":1: expected the version 1, got 'one'"),
        ("kaleidoscope: 1\nrecipes: []", r"such as .*; got \['kaleidoscope', 'recipes'\]\. Did you mean 'recipe'"),
        ("- Rotate", r":1: expected the keys"),
        ("", r":1: expected the keys"),
        ("kaleidoscope: 1\nrecipe: [Rotate", r":2: not YAML or JSON"),
        ("kaleidoscope: 1\nrecipe: 5", r":2: recipe: expected one op by its name"),
        ("kaleidoscope: 1\nrecipe: []\nrecipe: []", r":3: the key 'recipe' is there twice"),
        ("kaleidoscope: 1\nrecipe: [{1: {}}]", r":2: the key 1 is no text"),
        ("a: &x [1]\nb: *x", "anchors and aliases"),
        (
            "kaleidoscope: 1\nrecipe: [!!python/object/apply:os.system ['exit 3']]",
            r":2: expected plain values, got one of the kind .*python",
        ),
        ("kaleidoscope: !!int\nrecipe: []", r":1: expected int, got ''"),
        ("kaleidoscope: 1\nrecipe: [!!bool maybe]", r":2: expected bool, got 'maybe'"),
        ("kaleidoscope: 1\nrecipe: {Rotate: {limit: " + "9" * 5000 + "}}", r":2: expected int, got '999"),
        ("kaleidoscope: 1\nrecipe: " + "[" * 3000, "not YAML|nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, text, message):
    with pytest.raises(RecipeError, match=message):
        ks.load_recipe(write(text))


def test_a_file_that_is_not_there_or_no_text(tmp_path, write):
    with pytest.raises(RecipeError, match="cannot read"):
        ks.load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot read"):
        ks.load_recipe(tmp_path / "binary.yaml")


def test_reading_imports_no_function_and_allows_none_unasked(write):
    path = write("kaleidoscope: 1\nrecipe: [{Apply: {fn: 'this.module.would.run:code'}}]")
    with pytest.raises(RecipeError, match=r":2: recipe\.0: .*allow_functions"):
        ks.load_recipe(path)
    assert ks.load_recipe(path, allow_functions=True) == ops.PowerSet(ops.Apply("this.module.would.run:code"))
    assert "this" not in sys.modules


#: What a recipe is made of, and what YAML makes of a careless one.
WORDS = st.sampled_from(
    [
        *("kaleidoscope", "recipe", "Rotate", "Branch", "branches", "parts", "OneOf", "Repeat", "n", "Split", "Apply"),
        *("HorizontalFlip", "limit", "sizes", "fn", "weights", "PowerSet", "Sometimes", "p", "Sequential", "Crop"),
        *("1", "-1", "1e400", "0x1F", "1_000", "9" * 400, "1:30", ".nan", "-.inf", "null", "~", "yes", "2024-01-01"),
        *("[", "]", "{", "}", ":", ": ", ",", "-", "- ", "\n", "  ", "&a", "*a", "<<", "!!int", "!!binary", "!x"),
        *("|", ">", "'", '"', "#", "%YAML 9.9", "---", "...", "\t", "\0", "\x85", "\ufeff", "\U0001f600", "?", "="),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def loads(tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("fuzz"), set()

    def loads(data, name="recipe.yaml"):
        (folder / name).write_bytes(data)
        try:
            ks.load_recipe(folder / name, allow_functions=True)
            said.add("read")
        except RecipeError as error:  # any other one fails the test
            said.add("refused" if name in error.message else error.message)
        return said

    return loads


@settings(max_examples=200)
@given(data=st.data())
def test_a_recipe_with_some_places_changed_is_read_or_refused(loads, data):
    name = data.draw(st.sampled_from(["recipe.yaml", "recipe.json"]))
    with TemporaryDirectory() as folder:
        ks.dump_recipe(data.draw(st.sampled_from(RECIPES)), Path(folder) / name)
        text = (Path(folder) / name).read_text("utf-8")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 12, len(text))))
        text = text[:start] + data.draw(WORDS | st.text(max_size=3) | st.just("")) + text[end:]
    loads(text.encode("utf-8", "surrogatepass"), name)


@settings(max_examples=200)
@given(recipe=VALUES, version=st.just(1) | VALUES)
def test_any_values_are_read_or_refused(loads, recipe, version):
    loads(json.dumps({"kaleidoscope": version, "recipe": recipe}).encode())


@settings(max_examples=200)
@given(recipe=st.dictionaries(st.sampled_from(registry.op_names()), VALUES, min_size=1, max_size=1))
def test_any_settings_of_any_op_are_read_or_refused(loads, recipe):
    loads(json.dumps({"kaleidoscope": 1, "recipe": [recipe]}).encode())


@settings(max_examples=200)
@given(text=st.lists(WORDS, max_size=12).map("".join) | st.binary(max_size=40))
def test_any_words_and_bytes_are_read_or_refused(loads, text):
    loads(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def test_both_ends_of_that_are_met(loads):
    loads(b"kaleidoscope: 1\nrecipe: []")
    assert loads(b"kaleidoscope: 1") == {"read", "refused"}, "an error does not name the file"


class TestSchema:
    def test_is_published_as_it_is(self):
        published = json.loads((Path(__file__).parents[1] / "docs" / "recipe.schema.json").read_text("utf-8"))
        assert published == recipe_schema()

    @pytest.mark.parametrize("recipe", RECIPES, ids=repr)
    def test_takes_what_is_dumped(self, recipe, tmp_path):
        ks.dump_recipe(recipe, tmp_path / "r.yaml")
        jsonschema.validate(yaml.safe_load((tmp_path / "r.yaml").read_text("utf-8")), recipe_schema())

    @pytest.mark.parametrize(
        "recipe", [["Rotat"], [{"Rotate": {"limt": 1}}], {"Branch": {"branches": {"a": "Rotat"}}}, 5]
    )
    def test_refuses_what_is_no_recipe(self, recipe):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"kaleidoscope": 1, "recipe": recipe}, recipe_schema())
