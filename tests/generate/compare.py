"""Compares what a language has made of events with the events.

compare.py lines LANGUAGE EVENTS    the events of events.json as en57 returns them, one a line
compare.py refused LANGUAGE GOT EVENTS
                                    'ok' or 'not ok' for whether LANGUAGE has refused them for their reasons
compare.py same LANGUAGE GOT EVENTS 'ok' or 'not ok' for what LANGUAGE has printed for them

Numbers are equal by value, times by what they mean. An event may except a language.
"""

import datetime
import json
import re
import sys

# Those that Python understands; others are equal by their text.
TIME = re.compile(r"(?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d{1,6}0*)?(Z|[+-]\d\d:\d\d)", re.I)


def rows(language, path):
    for n, event in enumerate(json.load(open(path, encoding="utf8")), 1):
        if language in event.pop("except", []):
            continue
        unknown = event.pop("unknown", False)
        event.pop("reason", None)
        in_stream = n % 2 == 0
        yield unknown, event | {
            "position": n,
            "id": f"00000000-0000-7000-8000-{n:012}",
            "tags": ["a:1", "ü"] if in_stream else [],
            "stream": "s" if in_stream else None,
            "stream_version": n if in_stream else None,
            "occurred_at": "2026-01-02T03:04:05.123456+00:00",
            "recorded_at": "2026-01-02T03:04:05+00:00",
            "partition": "default",
        }


def meant(value):
    if isinstance(value, dict):
        return {key: meant(item) for key, item in value.items()}
    if isinstance(value, list):
        return [meant(item) for item in value]
    if isinstance(value, str) and TIME.fullmatch(value):
        return datetime.datetime.fromisoformat(value.upper()).timestamp()
    if isinstance(value, bool):
        return str(value)  # which equals 1 otherwise
    return value


def problems(got, unknown, row):
    if "error" in got:
        yield got["error"]
        return
    if got["known"] == unknown:
        yield "taken for " + ("known" if unknown else "unknown")
    if meant(got["event"]) != meant(row):
        yield f"read as {json.dumps(got['event'], ensure_ascii=False)}"
    if got["append"] is not None:
        wanted = {key: row[key] for key in ("type", "schema_version", "data", "tags", "meta")}
        wanted |= {"correlation_id": "c", "causation_id": "d", "trace_id": "e"}
        found = {"tags": [], "meta": None} | got["append"]
        if meant(found) != meant(wanted):
            yield f"appended as {json.dumps(found, ensure_ascii=False)}"


def same(language, path, events):
    lines = [json.loads(line) for line in open(path, encoding="utf8")]
    wanted = list(rows(language, events))
    failed = len(lines) != len(wanted)
    if failed:
        print(f"{language}: {len(lines)} events of {len(wanted)}")
    for got, (unknown, row) in zip(lines, wanted):
        for problem in problems(got, unknown, row):
            failed = True
            print(f"{language}: {json.dumps(row, ensure_ascii=False)}\n  {problem}")
    print(("not ok" if failed else "ok") + f" generate {language} round trip")
    return failed


def refused(language, path, events):
    lines = [json.loads(line) for line in open(path, encoding="utf8")]
    wanted = json.load(open(events, encoding="utf8"))
    wanted = [event for event in wanted if language not in event.get("except", [])]
    failed = len(lines) != len(wanted)
    for got, event in zip(lines, wanted):
        if event["reason"] not in got.get("error", ""):
            failed = True
            print(f"{language}: {json.dumps(event, ensure_ascii=False)}\n  {json.dumps(got)}")
    print(("not ok" if failed else "ok") + f" generate {language} refuses what does not fit")
    return failed


match sys.argv[1:]:
    case ["lines", language, events]:
        for _, row in rows(language, events):
            print(json.dumps(row, ensure_ascii=False))
    case ["same", language, path, events]:
        sys.exit(same(language, path, events))
    case ["refused", language, path, events]:
        sys.exit(refused(language, path, events))
