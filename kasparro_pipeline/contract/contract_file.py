"""The contract in the text of a `defs.yaml`: read, changed with comments and order kept, and compared.

Takes and gives text; whoever has the file reads and writes it.
"""

import difflib
import io
from typing import Any

import yaml as pyyaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from yaml.resolver import Resolver

from kasparro_pipeline.contract.proposal import Proposal
from kasparro_pipeline.contract.spec import Contract

INDENTS = (2, 0)
"""Spaces before the dash of a list."""
LONGEST_LINE = 4096
"""Characters after which a line may be broken: lines stay as they were."""


_RESOLVER = Resolver()
_TEXT = "tag:yaml.org,2002:str"


class ContractFileError(ValueError):
    """The text is not one YAML document with `attributes`, as a `defs.yaml` is."""


def contract_in(text: str) -> Contract:
    """The contract that the text holds.

    Raises:
        ContractFileError: it is no `defs.yaml`.
        ValidationError: its attributes are no contract.
    """
    try:
        document = pyyaml.safe_load(text)  # as Dagster reads it: YAML 1.1
    except pyyaml.YAMLError as error:
        raise ContractFileError(f"it is no single YAML document: {error}") from error
    attributes = document.get("attributes") if isinstance(document, dict) else None
    if not isinstance(attributes, dict):
        raise ContractFileError("it has no `attributes`")
    return Contract.model_validate(
        {name: attributes[name] for name in Contract.model_fields if name in attributes}
    )


def changed(text: str, proposal: Proposal) -> str:
    """The text with the changes of a proposal in it; comments, order and style stay.

    Raises:
        ContractFileError: it is no `defs.yaml`.
    """
    yaml = _yaml_like(text)
    document = yaml.load(text)
    attributes = _attributes(document)
    fields = attributes["fields"]
    for name, changes in proposal.fields.items():
        if changes is None:
            del fields[name]
        elif name not in fields:
            fields[_plain(name)] = _flow(changes)
        else:
            for key, value in changes.items():
                if value is None:
                    fields[name].pop(key, None)
                else:
                    fields[name][key] = _plain(value)
    if proposal.ignore:
        known = attributes.get("ignore")
        if known is None:
            attributes["ignore"] = CommentedSeq(_plain(proposal.ignore))
            attributes["ignore"].fa.set_flow_style()
        else:
            known.extend(_plain(proposal.ignore))
    for old, new in proposal.paths.items():
        _replace_path(attributes, old, new)
    return _written(yaml, document)


def difference(before: str, after: str, name: str) -> str:
    """What changed between two texts of the file `name`, as a unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _replace_path(attributes: CommentedMap, old: str, new: str) -> None:
    key, version = attributes["key"], attributes.get("version")
    if key == old:
        attributes["key"] = new
    elif not isinstance(key, str) and old in key:
        key[key.index(old)] = new
    if isinstance(version, dict) and version["path"] == old:
        version["path"] = new


def _plain(value: Any) -> Any:  # noqa: ANN401 - anything that a proposal writes
    """The value, with quotes around texts that YAML 1.1 would read as something else (`no`, `on`, `1:30`)."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        read_as = _RESOLVER.resolve(pyyaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
        return value if read_as == _TEXT else SingleQuotedScalarString(value)
    return value


def _flow(spec: dict[str, Any]) -> CommentedMap:
    written = CommentedMap(_plain(spec))
    written.fa.set_flow_style()
    return written


def _load(text: str) -> CommentedMap:
    try:
        document = _yaml(INDENTS[0]).load(text)
    except YAMLError as error:
        raise ContractFileError(f"it is no single YAML document: {error}") from error
    if not isinstance(document, CommentedMap):
        raise ContractFileError("it holds no mapping")
    return document


def _attributes(document: CommentedMap) -> CommentedMap:
    attributes = document.get("attributes")
    if not isinstance(attributes, CommentedMap):
        raise ContractFileError("it has no `attributes`")
    return attributes


def _yaml_like(text: str) -> YAML:
    """A reader and writer that indents lists as the text does, as far as it is consistent."""
    document = _load(text)
    return next((one for one in map(_yaml, INDENTS) if _written(one, document) == text), _yaml(INDENTS[0]))


def _written(yaml: YAML, document: CommentedMap) -> str:
    written = io.StringIO()
    yaml.dump(document, written)
    return written.getvalue()


def _yaml(indent: int) -> YAML:
    yaml = YAML()  # round trip: comments, order and quotes are kept
    yaml.preserve_quotes = True
    yaml.width = LONGEST_LINE
    yaml.indent(mapping=2, sequence=indent + 2, offset=indent)
    return yaml
