"""YAML files checked by pydantic models, with errors that name file, line and a cure."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UsageError


class Spec(BaseModel):
    """Base of everything that a user writes in YAML: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Spec)


def load(path: Path, spec: type[S], overrides: dict[str, str] | None = None) -> S:
    """Read `path` as a `spec`.

    `extends: OTHER.yaml` names a file beside it, which it changes: a group is merged with that
    file's group, anything else takes the place of what that file says.  `overrides` sets single
    values by dotted key, as `--set machine.memory_mib=512` does.
    Raises `UsageError` with file, line and a hint for anything that is wrong with the file.
    """
    node, data = _read(path)
    for key, value in (overrides or {}).items():
        _set(data, key, value)
    try:
        return spec.model_validate(data)
    except ValidationError as exc:
        raise UsageError(_explain(path, node, exc, spec), hint=_advice(exc, spec)) from exc


def _read(path: Path, above: tuple[Path, ...] = ()) -> tuple[yaml.Node | None, dict[str, Any]]:
    """The file's nodes, for line numbers, and its data with that of the file that it extends."""
    if path in above:
        raise UsageError(f"{path}: extends itself", hint="name another file")
    try:
        text = path.read_text()
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}", hint="check the path") from exc
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise UsageError(
            f"{path}: not valid YAML: {exc}", hint="mend the line named above"
        ) from exc
    if not isinstance(data, dict):
        raise UsageError(f"{path}: holds no mapping", hint="a file of keys and values is expected")
    base = data.pop("extends", None)
    if isinstance(base, str):
        data = _merged(_read(path.parent / base, (*above, path))[1], data)
    elif base is not None:
        raise UsageError(f"{path}: extends is no file name", hint="write extends: OTHER.yaml")
    return node, data


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` with `change` in it, group by group."""
    merged = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(old, value)
        merged[key] = value
    return merged


def parse_overrides(pairs: list[str]) -> dict[str, str]:
    """`["a.b=c"]` as `{"a.b": "c"}`; `UsageError` for a pair without `=`."""
    result = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(
                f"--set {pair!r} is not KEY=VALUE", hint="for example --set machine.memory_mib=512"
            )
        result[key] = value
    return result


def _set(data: dict[str, Any], dotted: str, text: str) -> None:
    *parents, last = dotted.split(".")
    here: Any = data
    for name in parents:
        here = here.setdefault(name, {})
        if not isinstance(here, dict):
            raise UsageError(
                f"--set {dotted}: {name} is a value, not a group", hint="drop the part behind it"
            )
    try:
        here[last] = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:  # such as *.img, which YAML takes for an alias
        here[last] = text


def _explain(path: Path, node: yaml.Node | None, error: ValidationError, spec: type[Spec]) -> str:
    lines = []
    for item in error.errors():
        # Pydantic puts the chosen member of a union into the location; it is no key of the file.
        where = ".".join(str(part) for part in item["loc"])
        lines.append(f"{path}:{_line(node, item['loc'])}: {where or 'file'}: {item['msg']}")
    return "\n".join(lines)


def _line(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int:
    """The line of the innermost part of `loc` that the file has (1-based)."""
    line = node.start_mark.line if node else 0
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    node, line = value, key.start_mark.line
                    break
        elif (
            isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value)
        ):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _advice(error: ValidationError, spec: type[Spec]) -> str:
    unknown = [str(i["loc"][-1]) for i in error.errors() if i["type"] == "extra_forbidden"]
    known = sorted(_all_fields(spec))
    for key in unknown:
        close = difflib.get_close_matches(key, known, n=1)
        if close:
            return f"did you mean {close[0]!r} instead of {key!r}?"
    if unknown:
        return f"known keys: {', '.join(known)}"
    return "mend the values named above"


def _all_fields(annotation: Any, seen: set[Any] | None = None) -> set[str]:
    """The names of all fields of a model and of the models inside it."""
    seen = set() if seen is None else seen
    if annotation in seen if isinstance(annotation, type) else False:
        return set()
    names: set[str] = set()
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        seen.add(annotation)
        for name, field in annotation.model_fields.items():
            names.add(name)
            names |= _all_fields(field.annotation, seen)
        return names
    for inner in get_args(annotation):
        names |= _all_fields(inner, seen)
    return names
