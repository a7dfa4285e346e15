-- An index for types, which (2) does not have while it is written to.
CREATE INDEX ON tagged (type, position);
ANALYZE tagged;
