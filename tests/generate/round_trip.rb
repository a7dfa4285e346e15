# frozen_string_literal: true

# Reads events of en57 as JSON lines, writes them back, and what en57_append would be given.

require_relative "expected/events"

$stdin.each_line do |line|
  event = Events.parse(line)
  known = !event.is_a?(Events::UnknownEvent)
  ids = { correlation_id: "c", causation_id: "d", trace_id: "e" }
  append = event.class.to_append(event.data, tags: event.tags, meta: event.meta, **ids) if known
  puts JSON.generate({ "known" => known, "event" => event.as_json, "append" => append })
end
