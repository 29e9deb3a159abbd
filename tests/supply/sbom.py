"""The bill of materials, CycloneDX 1.6 in JSON: releases with hashes, licences and origin."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from importlib import metadata

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.licences import licence
from tests.supply.lock import Pin, direct


def bill(locked: Sequence[Pin]) -> str:
    """Return the bill as JSON text; the same lock gives it the same serial number."""
    product = Component(name="odai", type=ComponentType.APPLICATION, bom_ref="odai")
    parts = {pin.name: _component(pin) for pin in locked}
    seed = "\n".join(f"{pin.name}=={pin.version}" for pin in locked)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, seed),
        metadata=BomMetaData(component=product),
        components=parts.values(),
    )
    bom.register_dependency(product, [parts[name] for name in direct() if name in parts])
    for name, part in parts.items():
        bom.register_dependency(part, [parts[each] for each in _needs(name) if each in parts])
    return JsonV1Dot6(bom).output_as_string(indent=1)


def problems(text: str) -> str:
    """Return what CycloneDX's schema has against a bill, "" for nothing."""
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    return str(found)[:500] if found else ""


def _component(pin: Pin) -> Component:
    named = licence(pin.name)
    return Component(
        name=pin.name,
        version=pin.version,
        type=ComponentType.LIBRARY,
        scope=ComponentScope.REQUIRED if pin.marker is None else ComponentScope.OPTIONAL,
        bom_ref=f"{pin.name}@{pin.version}",
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        licenses=[LicenseFactory().make_from_string(named)] if named else [],
        # Of every file of the release: one of them is what was installed.
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each[7:]) for each in pin.hashes],
    )


def _needs(name: str) -> set[str]:
    """Return what an installed package asks for, as far as it is known here."""
    try:
        asked = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return set()
    return {canonicalize_name(Requirement(line).name) for line in asked} - {name}
