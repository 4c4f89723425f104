"""Check a dossier against the standards' own schemas: FHIR R4B, CycloneDX 1.6, and CHAI's published XSD.

python scripts/check_dossier.py FOLDER --xsd schema.xsd

The XSD is published by the Coalition for Health AI at mc.chai.org (v0.2/schema.xsd); this project holds no copy of it.
Needs `pip install "medimg[test]" lxml`. Exit code 0 where everything is valid.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from fhir.resources.R4B.bundle import Bundle
from lxml import etree
from pydantic import ValidationError

_SIGNATURE = b"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"
  targetNamespace="http://www.w3.org/2000/09/xmldsig#"><xs:element name="Signature"/></xs:schema>"""


class _Offline(etree.Resolver):
    """Answer the schema's one import, of XML signatures, which no card here uses, without a network."""

    def resolve(self, system_url: str, public_id: str, context: object) -> object:
        return self.resolve_string(_SIGNATURE, context) if "xmldsig" in (system_url or "") else None


def chai_errors(card: Path, xsd: Path) -> list[str]:
    """Return what the XSD has against a card."""
    parser = etree.XMLParser(no_network=True, resolve_entities=False)
    parser.resolvers.add(_Offline())
    schema = etree.XMLSchema(etree.parse(str(xsd), parser))
    schema.validate(etree.parse(str(card), etree.XMLParser(no_network=True, resolve_entities=False)))
    return [f"line {error.line}: {error.message}" for error in schema.error_log]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--xsd", type=Path, required=True)
    options = parser.parse_args()
    problems = [f"chai.xml: {text}" for text in chai_errors(options.folder / "chai.xml", options.xsd)]
    found = JsonStrictValidator(SchemaVersion.V1_6).validate_str((options.folder / "cyclonedx.json").read_text("utf-8"))
    problems += [] if found is None else [f"cyclonedx.json: {found}"]
    try:
        Bundle.model_validate_json((options.folder / "fhir.json").read_text("utf-8"))
    except ValidationError as error:
        problems.append(f"fhir.json: {error}")
    for problem in problems:
        print(problem, file=sys.stderr)
    print("invalid" if problems else "valid: chai.xml, cyclonedx.json, fhir.json")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
