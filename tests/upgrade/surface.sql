-- Prints all lines of lines.sql, which says what they are.
\ir lines.sql
SELECT line FROM pg_temp.lines() AS line ORDER BY line COLLATE "C";

-- Settings are the library's, which is loaded by a call; not their values.
LOAD 'en57';
SELECT concat_ws(' | ', 'pg_settings', name, vartype, context, unit, boot_val, min_val, max_val, enumvals, short_desc)
  FROM pg_settings WHERE name LIKE 'en57.%' ORDER BY name COLLATE "C";
