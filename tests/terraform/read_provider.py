"""Take the schema of the resources we use out of the provider's generated bindings.

    npm pack @cdktf/provider-google@16.12.1 && tar xzf cdktf-provider-google-16.12.1.tgz
    python -m tests.terraform.read_provider package > tests/terraform/provider.json

The package's type declarations were generated from the provider's schema (google 6.50.0): each
property names its Terraform argument in its comment, and is optional where that is.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.terraform.configuration import resources

_INTERFACE = re.compile(r"export interface (\w+)(?: extends [\w.]+)? \{(.*?)\n\}", re.DOTALL)
_CONFIG = re.compile(r"export interface (\w+Config) extends cdktf\.TerraformMetaArguments")
_PROPERTY = re.compile(
    r"/\*\*(?P<comment>.*?)\*/\s*readonly \w+(?P<optional>\??): (?P<type>.+?);\n", re.DOTALL
)


def schema_of(declarations: str) -> dict[str, Any]:
    """Return {argument: {"required": bool, "block"?: the same again}} of one resource."""
    interfaces = dict(_INTERFACE.findall(declarations))

    def block(name: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for match in _PROPERTY.finditer(interfaces[name] + "\n"):
            argument = re.search(r"#([a-z0-9_]+) ", match["comment"])
            if argument is None:
                continue
            entry: dict[str, Any] = {"required": not match["optional"]}
            inner = re.match(r"(\w+)(\[\])?( \| cdktf\.IResolvable)?$", match["type"].strip())
            if inner and inner[1] in interfaces:
                entry["block"] = block(inner[1])
            found[argument[1]] = entry
        return found

    config = _CONFIG.search(declarations)
    assert config
    return block(config[1])


def main(package: Path) -> None:
    """Print the schema of every kind of resource that our configuration has."""
    kinds = sorted({each.kind for each in resources() if each.kind.startswith("google_")})
    schemas = {}
    for kind in kinds:
        folder = kind.removeprefix("google_").replace("_", "-")
        schemas[kind] = schema_of((package / "lib" / folder / "index.d.ts").read_text())
    print(json.dumps(schemas, sort_keys=True, separators=(",", ":")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
