SELECT (en57_append('{"type": "ping", "tags": ["ping:1"]}')).position;
