//! The functions that a Python file calls to read and write values.

use crate::generate::text::helpers_named_in;

/// By their names. Each stands before those that it calls.
const HELPERS: [(&str, &str); 19] = [
    (
        "_required",
        r#"def _required(
    json: dict[str, object], name: str, parse: Callable[[object], _T]
) -> _T:
    if name not in json:
        raise ValueError(f"{name}: is missing")
    return _named(name, json[name], parse)"#,
    ),
    (
        "_optional",
        r#"def _optional(
    json: dict[str, object], name: str, parse: Callable[[object], _T]
) -> _T | None:
    return _named(name, json[name], parse) if name in json else None"#,
    ),
    (
        "_maybe",
        r#"def _maybe(
    json: dict[str, object], name: str, parse: Callable[[object], _T]
) -> _T | Absent:
    return _named(name, json[name], parse) if name in json else Absent.ABSENT"#,
    ),
    (
        "_items",
        r#"def _items(json: object, parse: Callable[[object], _T]) -> list[_T]:
    return [_named(f"[{i}]", item, parse) for i, item in enumerate(_list(json))]"#,
    ),
    (
        "_values",
        r#"def _values(json: object, parse: Callable[[object], _T]) -> dict[str, _T]:
    return {key: _named(key, item, parse) for key, item in _object(json).items()}"#,
    ),
    (
        "_named",
        r#"def _named(name: str, json: object, parse: Callable[[object], _T]) -> _T:
    try:
        return parse(json)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None"#,
    ),
    (
        "_nullable",
        r#"def _nullable(json: object, parse: Callable[[object], _T]) -> _T | None:
    return None if json is None else parse(json)"#,
    ),
    (
        "_time_json",
        r#"def _time_json(value: _dt.datetime) -> str:
    if isinstance(value, _Time) and value.text:
        return value.text
    return value.isoformat().replace("+00:00", "Z")"#,
    ),
    (
        "_time",
        r#"def _time(json: object) -> _dt.datetime:
    if isinstance(json, _dt.datetime):
        return json
    text = _text(json)
    fraction = text[20:] if text[19:20] == "." else ""
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    is_leap = text[17:19] == "60"
    plain = (text[:17] + "59" + text[19:] if is_leap else text).upper()
    if not is_leap and not fraction[6:digits].strip("0"):
        return _dt.datetime.fromisoformat(plain)
    time = _Time.fromisoformat(plain)
    time.text = text
    return time"#,
    ),
    (
        "_Time",
        r#"class _Time(_dt.datetime):
    """A leap second, or a time that is finer than microseconds, which is written
    as it was read."""

    text = ""

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        return (_time, (self.text,)) if self.text else super().__reduce_ex__(protocol)"#,
    ),
    (
        "_date",
        r#"def _date(json: object) -> _dt.date:
    return _dt.date.fromisoformat(_text(json))"#,
    ),
    (
        "_id",
        r#"def _id(json: object) -> _uuid.UUID:
    return json if isinstance(json, _uuid.UUID) else _uuid.UUID(_text(json))"#,
    ),
    (
        "_object",
        r#"def _object(json: object) -> dict[str, object]:
    if not isinstance(json, dict):
        raise ValueError(f"not an object: {json!r}")
    return json"#,
    ),
    (
        "_list",
        r#"def _list(json: object) -> list[object]:
    if not isinstance(json, list):
        raise ValueError(f"not an array: {json!r}")
    return json"#,
    ),
    (
        "_text",
        r#"def _text(json: object) -> str:
    if not isinstance(json, str):
        raise ValueError(f"not a string: {json!r}")
    return json"#,
    ),
    (
        "_integer",
        r#"def _integer(json: object) -> int:
    if isinstance(json, bool) or not isinstance(json, (int, float)) or json % 1:
        raise ValueError(f"not an integer: {json!r}")
    return int(json)"#,
    ),
    (
        "_number",
        r#"def _number(json: object) -> float:
    if isinstance(json, bool) or not isinstance(json, (int, float)):
        raise ValueError(f"not a number: {json!r}")
    return json"#,
    ),
    (
        "_boolean",
        r#"def _boolean(json: object) -> bool:
    if not isinstance(json, bool):
        raise ValueError(f"not a boolean: {json!r}")
    return json"#,
    ),
    (
        "_any _null",
        r#"def _any(json: object) -> object:
    return json


def _null(json: object) -> None:
    if json is not None:
        raise ValueError(f"not null: {json!r}")"#,
    ),
];

/// The functions that the rest of the file needs.
pub fn helpers(body: &str) -> String {
    helpers_named_in(body, &HELPERS)
        .iter()
        .map(|helper| format!("\n\n{helper}\n"))
        .collect()
}
