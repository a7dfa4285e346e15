# What the Ruby gem En57 sends and expects, sent by ruby-pg as the gem sends it: texts of arrays of composites as
# parameters, conditions and criteria as JSON, conditional appends in SERIALIZABLE transactions.
#
# Fails when the text forms of en57.event are not read as PostgreSQL writes them, when a conflict names another event than
# the newest of the first criterion that matches, or when an append can end in a serialization failure.

require "json"
require "minitest/autorun"
require "pg"
require "securerandom"

# The gem's way to talk to its database; nothing else of it.
class Client
  Appended = Struct.new(:position)
  Refused = Struct.new(:position, :events)

  EVENT = PG::TextEncoder::Record.new
  ARRAY = PG::TextEncoder::Array.new

  attr_reader :connection

  def initialize
    @connection = PG.connect(dbname: ENV.fetch("PGDATABASE"))
  end

  def append(events, condition = {})
    isolation = condition.empty? ? "" : " ISOLATION LEVEL SERIALIZABLE"
    @connection.exec("BEGIN#{isolation}")
    row = @connection.exec_params(
      "SELECT position, conflicting_events FROM en57.append_events($1::en57.event[], $2::jsonb)",
      [ARRAY.encode(events.map { |event| encode(event) }), JSON.generate(condition)],
    ).first
    @connection.exec("COMMIT")
    position = row["position"]&.to_i
    conflicts = row["conflicting_events"]
    conflicts ? Refused.new(position, JSON.parse(conflicts)) : Appended.new(position)
  rescue PG::Error
    @connection.exec("ROLLBACK")
    raise
  end

  def read(*criteria, batch: nil, after: nil)
    @connection.exec_params(
      "SELECT position, id, type, data, meta, tags FROM en57.read_events($1::jsonb[], $2::int, $3::bigint)",
      [ARRAY.encode(criteria.map { |criterion| JSON.generate(criterion) }), batch, after],
    ).map { |row| decode(row) }
  end

  # All of it, as the gem does: batch after batch.
  def each_batch(*criteria, size:)
    after = nil
    loop do
      events = read(*criteria, batch: size, after: after)
      break if events.empty?
      yield events
      after = events.last[:position]
    end
  end

  private

  def encode(event)
    EVENT.encode([
      event.fetch(:id) { SecureRandom.uuid },
      event.fetch(:type),
      event[:data] && JSON.generate(event[:data]),
      event[:meta] && JSON.generate(event[:meta]),
      ARRAY.encode(event.fetch(:tags, [])),
    ])
  end

  def decode(row)
    {
      position: row["position"].to_i,
      id: row["id"],
      type: row["type"],
      data: row["data"] && JSON.parse(row["data"]),
      meta: row["meta"] && JSON.parse(row["meta"]),
      tags: PG::TextDecoder::Array.new.decode(row["tags"]),
    }
  end
end

class GemTest < Minitest::Test
  AWKWARD = [
    "a,b", 'a"b', 'a\\b', "a\\\\b", "{a}", "{", "}", "a b", " a", "a ", "NULL", "null", "Null", "''", "'", '""', '"', "\\", ",",
    "(a)", "(", ")", "a:b:c", "ä€😀", "e\u0301", "\u202e", "line\nbreak", "tab\there", "cr\rlf", "\\n", "$1", "%s", ";--", "<>", "[1]",
  ].freeze

  def setup
    @client = Client.new
    @client.connection.exec("DROP EXTENSION IF EXISTS en57 CASCADE")
    @client.connection.exec("CREATE EXTENSION en57")
  end

  def teardown
    @client.connection.close
  end

  def must_not_match(*criteria)
    { "fail_if_events_match" => criteria }
  end

  def test_nothing
    assert_equal Client::Appended.new(nil), @client.append([])
    assert_equal Client::Appended.new(nil), @client.append([], must_not_match({}))
    assert_empty @client.read
  end

  def test_events_come_back_as_they_were_sent
    events = [
      { type: "plain", tags: ["course:1"], data: { "n" => 1 } },
      { type: "bare" },
      { type: "with meta", meta: { "serializer" => { "at" => { "k" => "Symbol", "v" => "Time" } } }, data: { "at" => "2026-01-01" } },
      { type: "deep", data: { "a" => [nil, true, { "b" => "c" }, [], {}], "" => 1.5, "big" => 12_345_678_901_234_567_890 } },
      { type: "array", data: [1, "2", nil] },
    ].map { |event| { id: SecureRandom.uuid, data: nil, meta: nil, tags: [] }.merge(event) }
    assert_equal Client::Appended.new(5), @client.append(events)
    assert_equal events, @client.read.map { |event| event.except(:position) }
    assert_equal [1, 2, 3, 4, 5], @client.read.map { |event| event[:position] }
  end

  def test_awkward_texts
    AWKWARD.each do |text|
      id = SecureRandom.uuid
      @client.append([{ id: id, type: text, tags: [text, "#{text}!", "all"], data: { text => text }, meta: { text => [text] } }])
      found = @client.read({ types: [text], tags: [text, "all"] })
      assert_equal [id], found.map { |event| event[:id] }, text.inspect
      event = found.first
      assert_equal [text, { text => text }, { text => [text], "serializer" => {} }], event.values_at(:type, :data, :meta)
      assert_equal [text, "#{text}!", "all"].sort_by(&:bytes), event[:tags]
      assert_equal [], @client.read({ tags: ["#{text}?"] })
      refused = @client.append([{ type: "never" }], must_not_match({ tags: ["#{text}!"] }))
      assert_equal [id], refused.events.map { |conflict| conflict["id"] }
    end
    assert_equal AWKWARD.size, @client.read({ tags: ["all"] }).size
    # All of them at once: tags sorted by their bytes, each once.
    @client.append([{ type: "many", tags: AWKWARD.shuffle + AWKWARD }])
    assert_equal AWKWARD.sort_by(&:bytes), @client.read({ types: ["many"] }).first[:tags]
  end

  def test_a_large_batch
    events = Array.new(1000) { |i| { type: "t#{i % 7}", tags: ["i:#{i}", "{\"#{i % 3}\"}"], data: { "text" => "x, \"y\" \\ #{i}" * 20 } } }
    assert_equal Client::Appended.new(1000), @client.append(events)
    assert_equal events.map { |event| event[:data] }, @client.read.map { |event| event[:data] }
    assert_equal (0...1000).step(3).to_a, @client.read({ tags: ['{"0"}'] }).map { |event| event[:position] - 1 }
    sizes = []
    positions = []
    @client.each_batch({ types: ["t1"] }, { tags: ["i:0"] }, size: 10) do |batch|
      sizes << batch.size
      positions.concat(batch.map { |event| event[:position] })
    end
    assert_equal ([1] + (2..1000).step(7).to_a), positions
    assert_equal [10] * 14 + [4], sizes
  end

  def test_conditions_and_what_they_report
    ids = Array.new(4) { SecureRandom.uuid }
    @client.append([
      { id: ids[0], type: "defined", tags: ["course:1"] },
      { id: ids[1], type: "booked", tags: ["student:9", "course:1"], data: { "seat" => 1 }, meta: { "m" => "n" } },
      { id: ids[2], type: "booked", tags: ["course:2"] },
      { id: ids[3], type: "booked", tags: ["course:1"] },
    ])
    refused = lambda do |*criteria|
      result = @client.append([{ type: "never" }], must_not_match(*criteria))
      result.is_a?(Client::Refused) ? [result.position, result.events.map { |event| event["id"] }] : result.class
    end
    assert_equal [4, [ids[3]]], refused.({ types: ["booked"], tags: ["course:1"] })
    assert_equal [2, [ids[1]]], refused.({ tags: ["student:9"] })
    assert_equal [1, [ids[0]]], refused.({ types: ["defined"] }, { types: ["booked"] })
    assert_equal [3, [ids[2]]], refused.({ types: ["none"] }, { tags: ["course:2"] }, { types: ["defined"] })
    assert_equal [4, [ids[3]]], refused.({ tags: ["course:1"], after: 3 })
    assert_equal [4, [ids[3]]], refused.({})
    event = @client.append([{ type: "never" }], must_not_match({ tags: ["student:9"] })).events.first
    assert_equal(
      { "id" => ids[1], "type" => "booked", "data" => { "seat" => 1 }, "meta" => { "m" => "n", "serializer" => {} }, "tags" => ["course:1", "student:9"] },
      event,
    )
    assert_empty @client.read({ types: ["never"] })
    assert_equal Client::Appended.new(5), @client.append([{ type: "fine" }], must_not_match({ tags: ["course:1"], after: 4 }))
    assert_equal Client::Appended.new(6), @client.append([{ type: "fine" }], must_not_match)
  end

  def test_a_known_id
    id = SecureRandom.uuid
    @client.append([{ id: id, type: "once" }])
    [[{ id: id, type: "once" }], [{ type: "new" }, { id: id, type: "other" }]].each do |events|
      error = assert_raises(PG::UniqueViolation) { @client.append(events) }
      assert_equal "23505", error.result.error_field(PG::PG_DIAG_SQLSTATE)
    end
    assert_equal 1, @client.read.size
  end

  def test_an_id_twice_in_a_call
    id = SecureRandom.uuid
    assert_raises(PG::UniqueViolation) { @client.append([{ id: id, type: "a" }, { id: id, type: "b" }]) }
    assert_empty @client.read
  end

  # What the gem's serializer does first with metadata that is not NULL.
  def test_metadata_always_has_what_the_gem_looks_for
    @client.connection.exec(%q(SELECT * FROM en57_append('{"type": "foreign", "meta": {"source": "import"}}')))
    @client.connection.exec(%q(SET en57.meta = '{"correlation_id": "c"}'))
    @client.append([{ type: "strings", data: { "a" => "b" } }])
    assert_equal [{}, {}], @client.read.map { |event| event[:meta].fetch("serializer") }
    conflict = @client.append([{ type: "never" }], must_not_match({ types: ["strings"] })).events.first
    assert_equal({}, conflict["meta"].fetch("serializer"))
  end

  # An older release looks at no answer, but at an error of RAISE.
  def test_an_older_release_is_told_of_conflicts
    @client.append([{ type: "there" }])
    condition = JSON.generate(must_not_match({ types: ["there"] }))
    assert_raises(PG::RaiseException) do
      @client.connection.exec_params("SELECT en57.append_events(ARRAY[ROW(NULL, 'never', NULL, NULL, NULL)]::en57.event[], $1::jsonb)", [condition])
    end
    assert_equal ["there"], @client.read.map { |event| event[:type] }
  end

  WRITERS = 10
  EVENTS = 100

  # Writers as threads, each with a connection; what they return, and none of their errors is hidden.
  def writers
    gate = Queue.new
    threads = Array.new(WRITERS) do |writer|
      Thread.new do
        Thread.current.report_on_exception = false
        client = Client.new
        gate.pop
        yield client, writer
      ensure
        client&.connection&.close
      end
    end
    WRITERS.times { gate << :go }
    threads.map(&:value)
  end

  def check_log(size)
    events = @client.read
    assert_equal size, events.size
    positions = events.map { |event| event[:position] }
    assert_equal positions.sort.uniq, positions
    assert_equal size, events.map { |event| event[:id] }.uniq.size
    assert_empty @client.connection.exec("SELECT * FROM en57_check()").to_a
    events
  end

  def test_ten_writers_without_condition
    positions = writers do |client, writer|
      Array.new(EVENTS) { |n| client.append([{ type: "t", tags: ["w:#{writer}", "n:#{n}"] }]).position }
    end
    assert_equal positions.flatten.sort, check_log(WRITERS * EVENTS).map { |event| event[:position] }
    positions.each { |own| assert_equal own.sort, own }
  end

  # Nobody's condition concerns another's events: no conflict, no serialization failure.
  def test_ten_writers_that_do_not_conflict
    writers do |client, writer|
      after = 0
      EVENTS.times do |n|
        result = client.append([{ type: "t", tags: ["w:#{writer}"], data: { "n" => n } }], must_not_match({ tags: ["w:#{writer}"], after: after }))
        raise "refused: #{result}" unless result.is_a?(Client::Appended)
        after = result.position
      end
    end
    events = check_log(WRITERS * EVENTS)
    events.group_by { |event| event[:tags] }.each_value do |own|
      assert_equal (0...EVENTS).to_a, own.map { |event| event[:data]["n"] }
    end
  end

  # All want to be next: each append that succeeds has seen all before it, and each that is refused is shown an event that
  # it had not seen.
  def test_ten_writers_that_conflict
    conflicts = writers do |client, writer|
      refused = []
      after = 0
      seen = 0
      done = 0
      while done < EVENTS
        result = client.append([{ type: "t", tags: ["one"], data: { "n" => seen, "w" => writer } }], must_not_match({ tags: ["one"], after: after }))
        if result.is_a?(Client::Appended)
          done += 1
        else
          raise "not one event: #{result.events}" unless result.events.size == 1
          raise "an event that was known: #{result.position}" unless result.position > after
          refused << [result.position, result.events.first["id"]]
        end
        unseen = client.read({ tags: ["one"], after: after })
        seen += unseen.size
        after = unseen.last[:position] unless unseen.empty?
      end
      refused
    end
    events = check_log(WRITERS * EVENTS)
    assert_equal (0...WRITERS * EVENTS).to_a, events.map { |event| event[:data]["n"] }
    at = events.to_h { |event| [event[:position], event[:id]] }
    conflicts.flatten(1).each { |position, id| assert_equal at[position], id }
  end
end
