-- Streams, imports and traces in partitions: versions are those of one partition, and nothing names one where all are meant.
-- Fails when a stream's head, list or reading looks beyond its partition.
SELECT en57_create_partition('acme');
SELECT outcome, stream_version FROM en57_append('[{"type": "a"}, {"type": "b"}]', stream => 's');
SELECT outcome, stream_version FROM en57_append('{"type": "a"}', stream => 's', expected_version => 0, partition => 'acme');
SELECT outcome, stream_version FROM en57_append('{"type": "a"}', stream => 's', expected_version => 2, partition => 'acme');
SET en57.partition = 'acme';
SELECT outcome, stream_version FROM en57_append('{"type": "b", "id": "00000000-0000-4000-8000-000000000001"}', stream => 's', expected_version => 1);
SELECT stream_version, type, partition FROM en57_read_stream('s');
SELECT version, first_position, last_position FROM en57_stream('s');
SELECT stream, version FROM en57_streams();
SELECT en57_import('[{"type": "c", "stream": "s", "stream_version": 3, "causation_id": "00000000-0000-4000-8000-000000000001"}, {"type": "d", "stream": "t"}]');
SELECT depth, (event).type, (event).partition FROM en57_trace('00000000-0000-4000-8000-000000000001');
CREATE VIEW elsewhere AS SELECT 1::bigint AS position, 'moved in'::text AS type, 'u'::text AS stream;
CALL en57_import_in_batches('move', 'elsewhere');
SELECT partition, events, finished FROM en57_imports;
SELECT type, partition FROM en57_read_stream('u');
RESET en57.partition;
SELECT stream_version, type, partition FROM en57_read_stream('s');
SELECT stream, version FROM en57_streams();
SELECT stream, version FROM en57_streams(partition => 'acme');
SELECT stream_version, type, partition FROM en57_read('{"stream": "s"}', partition => '*');
SELECT count(*) FROM en57_trace('00000000-0000-4000-8000-000000000001');
-- one partition, not all
SELECT en57_append('{"type": "a"}', stream => 's', partition => '*');
SELECT en57_read_stream('s', partition => '*');
SELECT en57_read_stream('s', from_version => 2, partition => '*');
SELECT en57_stream('s', '*');
SELECT en57_streams(partition => '*');
SELECT depth, (event).type, (event).partition FROM en57_trace('00000000-0000-4000-8000-000000000001', '*');
SELECT en57_import('[{"type": "a"}]', '*');
-- rights
CREATE ROLE apart_reader;
SELECT en57_grant('apart_reader', 'reader', 'acme');
SET ROLE apart_reader;
SELECT (en57_stream('s', 'acme')).version;
SELECT count(*) FROM en57_streams(partition => 'acme');
SELECT count(*) FROM en57_trace('00000000-0000-4000-8000-000000000001', 'acme');
SELECT en57_stream('s');
SELECT count(*) FROM en57_streams();
SELECT count(*) FROM en57_read_stream('s');
SELECT count(*) FROM en57_trace('00000000-0000-4000-8000-000000000001');
SELECT en57_append('{"type": "a"}', stream => 's', partition => 'acme');
RESET ROLE;
DROP OWNED BY apart_reader;
DROP ROLE apart_reader;
-- an emptied partition has no streams, and begins them anew
SELECT en57_truncate('acme');
SELECT count(*) FROM en57_streams(partition => 'acme');
SELECT outcome, stream_version FROM en57_append('{"type": "a"}', stream => 's', expected_version => 0, partition => 'acme');
SELECT en57_drop_partition('acme');
