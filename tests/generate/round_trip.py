"""Reads events of en57 as JSON lines, writes them back, and what en57_append would be given."""

import json
import sys
from typing import Any

import events


def to_append(event: events.Event) -> dict[str, object] | None:
    match event:
        case events.UnknownEvent():
            return None
        case events.OrderPlacedV2Event(data=data, meta=meta, tags=tags):
            return events.OrderPlacedV2Event.to_append(
                data, tags=tags, meta=meta, correlation_id="c", causation_id="d", trace_id="e"
            )
    kind: Any = type(event)
    ids = {"correlation_id": "c", "causation_id": "d", "trace_id": "e"}
    appended: dict[str, object] = kind.to_append(event.data, tags=event.tags, meta=event.meta, **ids)
    return appended


for line in sys.stdin:
    try:
        event = events.parse_event(json.loads(line))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
        continue
    known = not isinstance(event, events.UnknownEvent)
    print(json.dumps({"known": known, "event": event.to_json(), "append": to_append(event)}))
