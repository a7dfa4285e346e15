//! Go's structs of events, and the functions that read them and make new ones.

use crate::generate::model::{EventType, Model, Shape};
use crate::generate::text::{Text, quoted, type_name};

use super::layout::{aligned, docs};
use super::shape::reader;

const ENVELOPE: &str = r#"// Event is an event as en57 returns it: a pointer to one of the structs whose names end with Event.
type Event interface {
	// Recorded is what all events have.
	Recorded() *Envelope
}

// Envelope is what all events have.
type Envelope struct {
	Position      int64     `json:"position"`
	ID            string    `json:"id"`
	Type          string    `json:"type"`
	Tags          []string  `json:"tags"`
	Stream        *string   `json:"stream"`
	StreamVersion *int64    `json:"stream_version"`
	SchemaVersion int       `json:"schema_version"`
	OccurredAt    time.Time `json:"occurred_at"`
	RecordedAt    time.Time `json:"recorded_at"`
	Partition     string    `json:"partition"`
}

// Recorded is what all events have.
func (e *Envelope) Recorded() *Envelope {
	return e
}"#;

const PARSE: &str = r#"// UnknownEvent is an event of another type or version, or one whose data has been erased.
type UnknownEvent struct {
	Envelope

	Data json.RawMessage `json:"data"`
	Meta json.RawMessage `json:"meta"`
}

// ParseEvent reads the event in the JSON of SELECT to_jsonb(e) FROM en57_read(..) AS e.
func ParseEvent(data []byte) (Event, error) {
	row := &UnknownEvent{}
	if err := json.Unmarshal(data, row); err != nil {
		return nil, err
	}"#;

/// The events that are read.
pub fn events(model: &Model, text: &mut Text) {
    text.line(ENVELOPE);
    for event in &model.events {
        text.gap();
        structure(model, event, text);
    }
    text.gap();
    parse(model, text);
}

/// The struct of one event.
fn structure(model: &Model, event: &EventType, text: &mut Text) {
    let name = &event.name;
    let what = format!(
        "{name}Event is {}, version {}.",
        type_name(event),
        event.version
    );
    docs(text, &[what]);
    let fields = |t: &mut Text| {
        let meta = format!("*{}", model.meta_name(event));
        let data = [
            "Data".to_owned(),
            name.clone(),
            "`json:\"data\"`".to_owned(),
        ];
        let meta = ["Meta".to_owned(), meta, "`json:\"meta\"`".to_owned()];
        aligned(t, &[data.to_vec(), meta.to_vec()]);
    };
    text.enclose(
        format!("type {name}Event struct {{\n\tEnvelope\n"),
        fields,
        "}",
    );
}

/// The function that reads an event.
fn parse(model: &Model, text: &mut Text) {
    let lines = |t: &mut Text| {
        if !model.events.iter().all(|e| model.data_takes_null(e)) {
            t.line("hasData := len(row.Data) > 0 && string(row.Data) != \"null\"");
        }
        if !model.events.is_empty() {
            t.line("switch {");
            model.events.iter().for_each(|event| case(model, event, t));
            t.line("}");
        }
        t.line("return row, nil");
    };
    text.enclose(PARSE, lines, "}");
}

/// The case of one event in the function that reads events.
fn case(model: &Model, event: &EventType, text: &mut Text) {
    let needs_data = !model.data_takes_null(event);
    let guard = if needs_data { " && hasData" } else { "" };
    let (kind, version) = (quoted(&event.event_type), event.version);
    text.line(format!(
        "case row.Type == {kind} && row.SchemaVersion == {version}{guard}:"
    ));
    text.block(|t| {
        let data = reader(model, &Shape::Named(event.data));
        let meta = reader(model, &Shape::Named(event.meta));
        let name = &event.name;
        t.line(format!("event := &{name}Event{{Envelope: row.Envelope}}"));
        let call = format!("readEvent(row, &event.Data, {data}, &event.Meta, {meta})");
        t.line(format!(
            "if err := {call}; err != nil {{\n\treturn nil, err\n}}"
        ));
        t.line("return event, nil");
    });
}

const APPEND: &str = r#"// AppendOptions is what a new event can have beside its data.
type AppendOptions[M any] struct {
	Tags          []string   `json:"tags,omitempty"`
	Meta          *M         `json:"meta,omitempty"`
	ID            string     `json:"id,omitempty"`
	OccurredAt    *time.Time `json:"occurred_at,omitempty"`
	CorrelationID string     `json:"correlation_id,omitempty"`
	CausationID   string     `json:"causation_id,omitempty"`
	TraceID       string     `json:"trace_id,omitempty"`
}

// AppendEvent is a new event, whose JSON en57_append takes.
type AppendEvent[D, M any] struct {
	Type          string `json:"type"`
	SchemaVersion int    `json:"schema_version"`
	Data          D      `json:"data"`
	AppendOptions[M]
}"#;

/// What makes new events.
pub fn append(model: &Model, text: &mut Text) {
    text.gap();
    text.line(APPEND);
    for event in &model.events {
        let (name, version) = (&event.name, event.version);
        let meta = model.meta_name(event);
        let kind = quoted(&event.event_type);
        text.gap();
        docs(
            text,
            &[format!("ToAppend{name} is a new event for en57_append.")],
        );
        text.line(format!(
            "func ToAppend{name}(data {name}, options AppendOptions[{meta}]) AppendEvent[{name}, {meta}] {{
\treturn AppendEvent[{name}, {meta}]{{{kind}, {version}, data, options}}\n}}"
        ));
    }
}
