"""What objects have to look like: the built-in ones, and those of the operator's own definitions, strictly."""

import copy
import importlib.resources

import kubernetes_validate
import yaml
from jsonschema import Draft202012Validator

VERSION = "1.33"  # of Kubernetes
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the definitions have 30,000 lines


def definitions():
    """Return the CustomResourceDefinitions that the dask-kubernetes wheel ships."""
    chart = importlib.resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator"
    texts = [path.read_text() for path in (chart / "crds").iterdir()]
    return [one for text in texts for one in yaml.load_all(text, _LOADER) if one]


class Custom:
    """The schema of one custom resource; a name that it does not know is an error, as ``kubectl`` has it if strict."""

    def __init__(self, definition):
        (version,) = definition["spec"]["versions"]
        self._defaults = version["schema"]["openAPIV3Schema"]
        schema = _as_json_schema(copy.deepcopy(self._defaults))
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
        schema["properties"]["metadata"] = {"type": "object"}
        schema["properties"]["status"] = {"type": "object"}  # kopf keeps its notes there
        self._validator = Draft202012Validator(schema)

    def fill(self, thing):
        """Lay the defaults into an object."""
        _fill(self._defaults, thing)

    def errors(self, thing):
        """Return what is wrong with an object, each with its place."""
        found = self._validator.iter_errors(thing)
        return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in found]


def errors_of_builtin(thing):
    """Return what is wrong with an object of Kubernetes itself."""
    try:
        kubernetes_validate.validate(
            {name: part for name, part in thing.items() if name != "status"}, VERSION, strict=True
        )
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(map(str, error.path))}: {error.message}"]
    return []


def _as_json_schema(schema):
    if isinstance(schema, list):
        return [_as_json_schema(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _as_json_schema(part) for name, part in schema.items()}
    if schema.pop("x-kubernetes-int-or-string", None):
        schema.pop("type", None)
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.pop("nullable", None) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    open_to_all = schema.pop("x-kubernetes-preserve-unknown-fields", None)
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_to_all:
        schema.setdefault("additionalProperties", False)
    return schema


def _fill(schema, thing):
    if isinstance(thing, dict):
        for name, part in (schema.get("properties") or {}).items():
            if "default" in part and thing.get(name) is None:
                thing[name] = copy.deepcopy(part["default"])
            if name in thing:
                _fill(part, thing[name])
    elif isinstance(thing, list) and isinstance(schema.get("items"), dict):
        for one in thing:
            _fill(schema["items"], one)
