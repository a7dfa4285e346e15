//! The functions that a Go file calls to read and write values.
//!
//! `encoding/json` alone takes keys in upper or lower case, null for any value, and nothing where a value is required; and
//! it writes an empty list as null. These functions check first.

use crate::generate::model::{Kind, Model};
use crate::generate::text::helpers_named_in;

/// By their names. Each stands before those that it calls.
const HELPERS: [(&str, &str); 17] = [
    (
        "readEvent",
        r#"// readEvent reads the data and the metadata of an event.
func readEvent[D, M any](row *UnknownEvent, data *D, readData func([]byte, *D) error, meta **M, readMeta func([]byte, *M) error) error {
	err := readData(row.Data, data)
	if err == nil {
		err = readNullable(readMeta)(row.Meta, meta)
	}
	if err != nil {
		return fmt.Errorf("event %s, version %d: %w", row.Type, row.SchemaVersion, err)
	}
	return nil
}
"#,
    ),
    (
        "readRequired",
        r#"// readRequired takes a property that must be there.
func readRequired[T any](object map[string]json.RawMessage, name string, to *T, read func([]byte, *T) error) error {
	if _, ok := object[name]; !ok {
		return fmt.Errorf("%s: is missing", name)
	}
	return readOptional(object, name, to, read)
}
"#,
    ),
    (
        "readOptional",
        r#"// readOptional takes a property that may be there.
func readOptional[T any](object map[string]json.RawMessage, name string, to *T, read func([]byte, *T) error) error {
	data, ok := object[name]
	if !ok {
		return nil
	}
	delete(object, name)
	if err := read(data, to); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
"#,
    ),
    (
        "readPresent",
        r#"// readPresent reads what is there: a value or null.
func readPresent[T any](read func([]byte, *T) error) func([]byte, *Nullable[T]) error {
	return func(data []byte, to *Nullable[T]) error {
		*to = Nullable[T]{nil}
		return readNullable(read)(data, &(*to)[0])
	}
}
"#,
    ),
    (
        "readNullable",
        r#"// readNullable reads a value, or null as nil.
func readNullable[T any](read func([]byte, *T) error) func([]byte, **T) error {
	return func(data []byte, to **T) error {
		*to = nil
		if isNull(data) {
			return nil
		}
		return readPointer(read)(data, to)
	}
}
"#,
    ),
    (
        "readPointer",
        r#"// readPointer reads a value.
func readPointer[T any](read func([]byte, *T) error) func([]byte, **T) error {
	return func(data []byte, to **T) error {
		*to = new(T)
		return read(data, *to)
	}
}
"#,
    ),
    (
        "readOrNil",
        r#"// readOrNil reads a list or a map, or null as nil.
func readOrNil[T any](read func([]byte, *T) error) func([]byte, *T) error {
	return func(data []byte, to *T) error {
		if isNull(data) {
			return nil
		}
		return read(data, to)
	}
}
"#,
    ),
    (
        "readList",
        r#"// readList reads a list.
func readList[T any](read func([]byte, *T) error) func([]byte, *[]T) error {
	return func(data []byte, to *[]T) error {
		var items []json.RawMessage
		if err := readValue(data, &items); err != nil {
			return err
		}
		*to = make([]T, len(items))
		for i, item := range items {
			if err := read(item, &(*to)[i]); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		return nil
	}
}
"#,
    ),
    (
        "readMap",
        r#"// readMap reads a map.
func readMap[T any](read func([]byte, *T) error) func([]byte, *map[string]T) error {
	return func(data []byte, to *map[string]T) error {
		object, err := readObject(data)
		if err != nil {
			return err
		}
		*to = make(map[string]T, len(object))
		for name, item := range object {
			var value T
			if err := read(item, &value); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			(*to)[name] = value
		}
		return nil
	}
}
"#,
    ),
    (
        "readObject",
        r#"// readObject reads the properties of an object.
func readObject(data []byte) (map[string]json.RawMessage, error) {
	var object map[string]json.RawMessage
	err := readValue(data, &object)
	return object, err
}
"#,
    ),
    (
        "readTime",
        r#"// readTime reads a time of RFC 3339. What time.Time cannot hold is an error: leap seconds, and what is finer than
// nanoseconds.
func readTime(data []byte, to *time.Time) error {
	var text string
	if err := readValue(data, &text); err != nil {
		return err
	}
	value, err := time.Parse(time.RFC3339, strings.ToUpper(text))
	if err != nil {
		return err
	}
	if _, fraction, ok := strings.Cut(text, "."); ok {
		digits := len(fraction) - len(strings.TrimLeft(fraction, "0123456789"))
		if digits > 9 && strings.Trim(fraction[9:digits], "0") != "" {
			return fmt.Errorf("finer than nanoseconds: %s", text)
		}
	}
	*to = value
	return nil
}
"#,
    ),
    (
        "readNull",
        r#"// readNull reads null.
func readNull(data []byte, to **struct{}) error {
	if !isNull(data) {
		return fmt.Errorf("not null: %s", data)
	}
	*to = nil
	return nil
}
"#,
    ),
    (
        "readValue",
        r#"// readValue reads a value that is not null.
func readValue[T any](data []byte, to *T) error {
	if isNull(data) {
		return fmt.Errorf("is null")
	}
	return json.Unmarshal(data, to)
}
"#,
    ),
    (
        "readAny",
        r#"// readAny reads a value that may be null.
func readAny[T any](data []byte, to *T) error {
	return json.Unmarshal(data, to)
}
"#,
    ),
    (
        "isNull",
        r#"// isNull tells whether a JSON value is null.
func isNull(data []byte) bool {
	return string(bytes.TrimSpace(data)) == "null"
}
"#,
    ),
    // What is left out, or null, or a value: there is no pointer for all three.
    (
        "Nullable NullableOf",
        r#"// Nullable is a value that may be left out, or null: empty, or one pointer, which is nil for null.
type Nullable[T any] []*T

// NullableOf is a value that is there; null for nil.
func NullableOf[T any](value *T) Nullable[T] {
	return Nullable[T]{value}
}

// MarshalJSON writes the value, or null.
func (n Nullable[T]) MarshalJSON() ([]byte, error) {
	if len(n) == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(n[0])
}

// UnmarshalJSON reads a value, or null.
func (n *Nullable[T]) UnmarshalJSON(data []byte) error {
	var value *T
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	*n = Nullable[T]{value}
	return nil
}
"#,
    ),
    (
        "orEmptyList orEmptyMap writeList writeMap",
        r#"// orEmptyList is a list that is written as [] where it is nil.
func orEmptyList[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// orEmptyMap is a map that is written as {} where it is nil.
func orEmptyMap[T any](items map[string]T) map[string]T {
	if items == nil {
		return map[string]T{}
	}
	return items
}

// writeList is a list of what is written for its items.
func writeList[T any](items []T, write func(T) any) []any {
	var list []any
	if items != nil {
		list = make([]any, 0, len(items))
	}
	for _, item := range items {
		list = append(list, write(item))
	}
	return list
}

// writeMap is a map of what is written for its items.
func writeMap[T any](items map[string]T, write func(T) any) map[string]any {
	var object map[string]any
	if items != nil {
		object = make(map[string]any, len(items))
	}
	for name, item := range items {
		object[name] = write(item)
	}
	return object
}
"#,
    ),
];

/// What unions call to find out which variant a value is.
const UNION: &str = r#"// jsonKind is the kind of a JSON value, and the properties of an object.
func jsonKind(data []byte) (string, map[string]json.RawMessage) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return "", nil
	}
	switch data[0] {
	case '{':
		var properties map[string]json.RawMessage
		if json.Unmarshal(data, &properties) != nil {
			return "", nil
		}
		return "object", properties
	case '[':
		return "array", nil
	case '"':
		return "string", nil
	case 't', 'f':
		return "boolean", nil
	case 'n':
		return "null", nil
	}
	return "number", nil
}

// isOneOf tells whether a JSON value is one of some strings.
func isOneOf(data json.RawMessage, values ...string) bool {
	var text string
	if json.Unmarshal(data, &text) != nil {
		return false
	}
	for _, value := range values {
		if text == value {
			return true
		}
	}
	return false
}

// hasAll tells whether all of some properties are there.
func hasAll(properties map[string]json.RawMessage, names ...string) bool {
	for _, name := range names {
		if _, ok := properties[name]; !ok {
			return false
		}
	}
	return true
}
"#;

/// The functions that the rest of the file needs.
pub fn helpers(model: &Model, body: &str) -> String {
    let mut helpers = String::new();
    if has_unions(model) {
        helpers.push('\n');
        helpers.push_str(UNION);
    }
    for helper in helpers_named_in(body, &HELPERS) {
        helpers.push('\n');
        helpers.push_str(helper);
    }
    helpers
}

/// Whether some declaration is a union.
pub fn has_unions(model: &Model) -> bool {
    let mut declarations = model.declarations.iter();
    declarations.any(|d| matches!(d.kind, Kind::Union(_)))
}
