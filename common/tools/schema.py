"""From a tool's signature to the strict JSON schema a model is given, and back from its JSON.

Strict mode wants every property required and no others allowed, so an argument with a default is
offered as "or null", and a null that comes back means the default. Numbers sent as strings are
accepted: models do that.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import msgspec

from common.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Parameters:
    """A tool's arguments: `schema` for the model, `parse` for what the model sends."""

    schema: dict[str, Any]
    struct: type[msgspec.Struct]
    optional: frozenset[str]

    def parse(self, arguments: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
        """Return keyword arguments from JSON text or a mapping.

        Raises InvalidInput, worded for the model, naming the argument that does not fit.
        """
        raw = _decode(arguments)
        unknown = sorted(set(raw) - set(self.struct.__struct_fields__))
        if unknown:
            known = ", ".join(self.struct.__struct_fields__) or "none"
            raise InvalidInput(f"Unknown argument {unknown[0]!r}. The arguments are: {known}.")
        given = {k: v for k, v in raw.items() if not (v is None and k in self.optional)}
        try:
            value = msgspec.convert(given, self.struct, strict=False)
        except msgspec.ValidationError as err:
            raise InvalidInput(f"The arguments do not fit: {err}.") from err
        return {name: getattr(value, name) for name in self.struct.__struct_fields__}


def parameters_of(handler: Callable[..., Any]) -> Parameters:
    """Read the keyword arguments of `handler` (all but its first parameter, the context)."""
    hints = get_type_hints(handler, include_extras=True)
    described = _argument_lines(inspect.getdoc(handler) or "")
    signature = list(inspect.signature(handler).parameters.values())[1:]
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in signature:
        meta = msgspec.Meta(description=described.get(parameter.name, ""))
        kind: Any = Annotated[hints[parameter.name], meta]
        has_default = parameter.default is not inspect.Parameter.empty
        fields.append(
            (parameter.name, kind, parameter.default) if has_default else (parameter.name, kind)
        )
    struct = msgspec.defstruct(f"{handler.__name__}_arguments", fields, kw_only=True)
    optional = frozenset(p.name for p in signature if p.default is not inspect.Parameter.empty)
    return Parameters(schema=_strict(struct, optional), struct=struct, optional=optional)


def _decode(arguments: str | bytes | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(arguments, Mapping):
        return dict(arguments)
    try:
        value = msgspec.json.decode(arguments or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise InvalidInput("The arguments are not valid JSON. Send one JSON object.") from err
    if not isinstance(value, dict):
        raise InvalidInput("The arguments must be one JSON object.")
    return value


def _argument_lines(doc: str) -> dict[str, str]:
    """Read `name: what it is` lines of an `Args:` section; deeper-indented lines continue one."""
    _, _, section = doc.partition("\nArgs:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            found[name] = match[2].strip()
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _strict(struct: type[msgspec.Struct], optional: frozenset[str]) -> dict[str, Any]:
    (top,), definitions = msgspec.json.schema_components([struct], ref_template="{name}")
    schema: dict[str, Any] = _inline(top, definitions)
    schema["properties"] = {
        name: _nullable(value) if name in optional else value
        for name, value in schema["properties"].items()
    }
    return schema


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        beside = {k: v for k, v in schema.items() if k != "$ref"}
        return _inline({**definitions[schema["$ref"]], **beside}, definitions)
    # A mapping under these names is an argument called so, not msgspec's annotation.
    made = {
        k: _inline(v, definitions)
        for k, v in schema.items()
        if k not in ("title", "default") or isinstance(v, dict)
    }
    if made.get("type") == "object" and "properties" in made:
        made["required"] = list(made["properties"])
        made["additionalProperties"] = False
    if made.get("description") == "":
        del made["description"]
    return made


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema:
        values = [v for v in schema["enum"] if v is not None]
        return {**schema, "enum": [*values, None]}
    if "anyOf" in schema:
        branches = [b for b in schema["anyOf"] if b != {"type": "null"}]
        return {**schema, "anyOf": [*branches, {"type": "null"}]}
    if isinstance(kind := schema.get("type"), str):
        return {**schema, "type": [kind, "null"]}
    return schema
