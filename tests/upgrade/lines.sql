-- What the system catalogs have of this database's objects as lines: one for each column of each row. Two databases
-- with the same lines have the same objects, members, definitions, comments, privileges, owners and dependencies.
--
-- Nothing lists the kinds of objects: each catalog is read whole, and PostgreSQL itself says which columns refer to which
-- catalog (pg_get_catalog_foreign_keys). In place of an oid a line has the name of the object. Trees of expressions,
-- which hold oids, are left out, and their definitions as SQL are printed. What may differ between two databases that
-- are alike is left out as well: sizes, transaction ids, hints, numbers of columns beside those that were dropped.

\set QUIET on
\set ON_ERROR_STOP on
\pset tuples_only on
\pset format unaligned
SET search_path = pg_catalog;
SET client_min_messages = warning;

-- The name of an object. The name of a TOAST table has an oid: that of its table stands for it.
CREATE FUNCTION pg_temp.without_oid(name text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT regexp_replace(name, '[0-9]+', coalesce(substring(name FROM 'pg_toast_([0-9]+)')::oid::regclass::text, 'none'))
$$;
CREATE FUNCTION pg_temp.name_of(class oid, object oid, part integer DEFAULT 0) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN object = 0 THEN NULL
                WHEN class = 'pg_class'::regclass AND (pg_identify_object(class, object, part)).identity LIKE 'pg\_toast.%'
                THEN pg_temp.without_oid((pg_identify_object(class, object, part)).identity)
                ELSE (pg_identify_object(class, object, part)).type || ' ' || (pg_identify_object(class, object, part)).identity END
$$;

-- Privileges in words and in order. Where none are stored there are those by default.
CREATE FUNCTION pg_temp.privileges(acl aclitem[], kind "char", owner oid) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce(string_agg(line, ', ' ORDER BY line COLLATE "C"), 'none')
      FROM (SELECT format('%s has %s%s from %s', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END,
                          privilege_type, CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, pg_get_userbyid(grantor))
              FROM aclexplode(coalesce(acl, CASE WHEN kind IS NOT NULL THEN acldefault(kind, owner) END))) AS p (line)
$$;

-- What one column of a catalog is printed as: an expression over the row r, or NULL where it is left out.
CREATE FUNCTION pg_temp.expression(catalog regclass, col name, kind regtype) RETURNS text LANGUAGE sql AS $$
    SELECT CASE
        WHEN concat(catalog, '.', col) IN (
                'pg_class.relfilenode', 'pg_class.relpages', 'pg_class.reltuples', 'pg_class.relallvisible', 'pg_class.relallfrozen',
                'pg_class.relhasindex', 'pg_class.relhassubclass', 'pg_class.relhastriggers', 'pg_class.relhasrules', 'pg_class.relnatts',
                'pg_class.relrewrite', 'pg_attribute.attnum', 'pg_attribute.atthasmissing', 'pg_attribute.attcacheoff', 'pg_attribute.attlen', 'pg_attribute.attndims', 'pg_attribute.attbyval',
                'pg_attribute.attalign', 'pg_attribute.attisdropped', 'pg_attribute.atttypid', 'pg_attribute.atttypmod',
                'pg_enum.enumsortorder', 'pg_index.indcheckxmin', 'pg_extension.extconfig', 'pg_extension.extcondition',
                'pg_depend.objsubid', 'pg_depend.refobjsubid', 'pg_description.objsubid', 'pg_seclabel.objsubid',
                'pg_depend.classid', 'pg_depend.refclassid', 'pg_description.classoid', 'pg_seclabel.classoid')
            OR kind IN ('pg_node_tree', 'xid', 'int2vector', 'anyarray')
            OR kind = 'int2[]'::regtype AND col <> 'indoption' THEN NULL
        -- Some builds of PostgreSQL add a number of their own to the options of a column, another one in each database.
        WHEN col = 'attoptions' THEN $x$(SELECT nullif(array_agg(o), '{}')::text FROM unnest(r.attoptions) AS o WHERE o !~ '^pg_attver=')$x$
        WHEN col IN ('objid', 'refobjid') THEN
            format('pg_temp.name_of(r.%1$sclassid, r.%1$sobjid, r.%1$sobjsubid)', CASE WHEN col = 'refobjid' THEN 'ref' ELSE '' END)
        WHEN col = 'objoid' THEN 'pg_temp.name_of(r.classoid, r.objoid, r.objsubid)'
        WHEN kind = 'aclitem[]'::regtype THEN format('pg_temp.privileges(r.%I, %s)', col, CASE catalog
            WHEN 'pg_class'::regclass THEN $x$CASE r.relkind WHEN 'S' THEN 's' WHEN 'i' THEN NULL ELSE 'r' END::"char", r.relowner$x$
            WHEN 'pg_proc'::regclass THEN $x$'f', r.proowner$x$
            WHEN 'pg_type'::regclass THEN $x$'T', r.typowner$x$
            WHEN 'pg_namespace'::regclass THEN $x$'n', r.nspowner$x$
            WHEN 'pg_language'::regclass THEN $x$'l', r.lanowner$x$
            WHEN 'pg_foreign_data_wrapper'::regclass THEN $x$'F', r.fdwowner$x$
            WHEN 'pg_foreign_server'::regclass THEN $x$'S', r.srvowner$x$
            ELSE 'NULL, 0' END)
        WHEN f.is_array THEN
            format('(SELECT string_agg(coalesce(pg_temp.name_of(%s, o), ''-''), '', '' ORDER BY n) FROM unnest(r.%I::oid[]) WITH ORDINALITY AS u (o, n))', f.pktable::oid, col)
        WHEN f.pktable IS NOT NULL THEN format('pg_temp.name_of(%s, r.%I)', f.pktable::oid, col)
        WHEN kind = 'oid'::regtype THEN NULL
        ELSE format('r.%I::text', col)
    END
    FROM (SELECT) AS one
    LEFT JOIN pg_get_catalog_foreign_keys() AS f ON f.fktable = catalog AND f.fkcols = ARRAY[col::text] AND f.pkcols = '{oid}'
$$;

-- Definitions in the place of what is stored as a tree, or only together with other rows.
CREATE FUNCTION pg_temp.definition(catalog regclass) RETURNS text LANGUAGE sql AS $$
    SELECT CASE catalog
        WHEN 'pg_proc'::regclass THEN $x$CASE WHEN r.prokind <> 'a' THEN pg_get_functiondef(r.oid) END$x$
        WHEN 'pg_class'::regclass THEN $x$CASE WHEN r.relkind IN ('v', 'm') THEN pg_get_viewdef(r.oid) WHEN r.relkind = 'p' THEN pg_get_partkeydef(r.oid) ELSE pg_get_expr(r.relpartbound, r.oid) END$x$
        WHEN 'pg_attrdef'::regclass THEN 'pg_get_expr(r.adbin, r.adrelid)'
        WHEN 'pg_attribute'::regclass THEN $x$format('column %s of type %s', (SELECT count(*) FROM pg_attribute AS b WHERE b.attrelid = r.attrelid AND b.attnum BETWEEN 1 AND r.attnum AND NOT b.attisdropped), format_type(r.atttypid, r.atttypmod))$x$
        WHEN 'pg_constraint'::regclass THEN 'pg_get_constraintdef(r.oid)'
        WHEN 'pg_enum'::regclass THEN $x$format('label %s', (SELECT count(*) FROM pg_enum AS b WHERE b.enumtypid = r.enumtypid AND b.enumsortorder <= r.enumsortorder))$x$
        WHEN 'pg_extension'::regclass THEN $x$(SELECT string_agg(c::regclass || coalesce(' ' || nullif(w, ''), ''), ', ' ORDER BY c::regclass::text COLLATE "C") FROM unnest(r.extconfig, r.extcondition) AS u (c, w))$x$
        WHEN 'pg_index'::regclass THEN 'pg_get_indexdef(r.indexrelid)'
        WHEN 'pg_policy'::regclass THEN $x$concat_ws(' / ', pg_get_expr(r.polqual, r.polrelid), pg_get_expr(r.polwithcheck, r.polrelid))$x$
        WHEN 'pg_publication_rel'::regclass THEN 'pg_get_expr(r.prqual, r.prrelid)'
        WHEN 'pg_rewrite'::regclass THEN 'pg_get_ruledef(r.oid)'
        WHEN 'pg_statistic_ext'::regclass THEN 'pg_get_statisticsobjdef(r.oid)'
        WHEN 'pg_trigger'::regclass THEN 'pg_get_triggerdef(r.oid)'
        WHEN 'pg_type'::regclass THEN $x$CASE WHEN r.typtype = 'd' THEN pg_get_expr(r.typdefaultbin, 0) END$x$
    END
$$;

-- All lines of one catalog.
CREATE FUNCTION pg_temp.lines_of(catalog regclass) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    has_oid boolean;
    label text;
    ours text;
    columns text;
BEGIN
    SELECT bool_or(a.attname = 'oid' AND catalog <> 'pg_enum'::regclass),
           string_agg(format('(%L, %s)', a.attname, e.expression), ', ' ORDER BY a.attnum) FILTER (WHERE e.expression IS NOT NULL),
           string_agg(format('r.%I >= 16384', a.attname), ' OR ') FILTER (WHERE a.atttypid IN ('oid'::regtype, 'regproc'::regtype)),
           string_agg(e.expression, $x$, ' ', $x$ ORDER BY a.attnum) FILTER (WHERE e.expression LIKE '%pg_temp.name_of%' OR a.attname ~ '^(attname|enumlabel)$')
      INTO has_oid, columns, ours, label
      FROM pg_attribute AS a, LATERAL (SELECT pg_temp.expression(catalog, a.attname, a.atttypid)) AS e (expression)
     WHERE a.attrelid = catalog AND a.attnum > 0;
    IF has_oid THEN
        label := format('pg_temp.name_of(%s, r.oid)', catalog::oid);
        ours := 'r.oid >= 16384';
    ELSE
        label := format('concat(%s)', label);
    END IF;
    RETURN QUERY EXECUTE format(
        $x$SELECT concat_ws(' | ', %L, l.label, v.key, to_jsonb(v.value)::text)
             FROM %s AS r, LATERAL (SELECT %s OFFSET 0) AS l (label), LATERAL (VALUES %s, ('definition', %s)) AS v (key, value)
            WHERE (%s) AND v.value IS NOT NULL AND l.label !~ 'pg_(toast_)?temp([_.0-9]|$)' AND v.value !~ '^(CREATE.*)?pg_toast_[0-9]' %s$x$,
        catalog, catalog, label, columns, coalesce(pg_temp.definition(catalog), 'NULL'), ours,
        CASE catalog WHEN 'pg_attribute'::regclass THEN $y$AND r.attnum > 0 AND NOT r.attisdropped AND l.label !~ '^pg_toast'$y$ ELSE '' END);
END $$;

-- What the script gave at first, where that is not what there is by default: pg_dump has all other privileges.
CREATE FUNCTION pg_temp.first_privileges() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT concat_ws(' | ', 'pg_init_privs', pg_temp.name_of(i.classoid, i.objoid, i.objsubid), 'initprivs', p.stored)
      FROM pg_init_privs AS i
      LEFT JOIN pg_class AS c ON i.classoid = 'pg_class'::regclass AND c.oid = i.objoid
      LEFT JOIN pg_proc AS f ON i.classoid = 'pg_proc'::regclass AND f.oid = i.objoid
      LEFT JOIN pg_type AS t ON i.classoid = 'pg_type'::regclass AND t.oid = i.objoid
      LEFT JOIN pg_namespace AS n ON i.classoid = 'pg_namespace'::regclass AND n.oid = i.objoid
      LEFT JOIN pg_language AS l ON i.classoid = 'pg_language'::regclass AND l.oid = i.objoid,
      LATERAL (SELECT CASE WHEN i.objsubid <> 0 THEN 'c' WHEN c.relkind = 'S' THEN 's' WHEN c.oid IS NOT NULL THEN 'r' WHEN f.oid IS NOT NULL THEN 'f'
                           WHEN t.oid IS NOT NULL THEN 'T' WHEN n.oid IS NOT NULL THEN 'n' WHEN l.oid IS NOT NULL THEN 'l' END::"char",
                      coalesce(c.relowner, f.proowner, t.typowner, n.nspowner, l.lanowner)) AS k (kind, owner),
      LATERAL (SELECT pg_temp.privileges(i.initprivs, NULL, 0), pg_temp.privileges(NULL, k.kind, k.owner)) AS p (stored, by_default)
     WHERE p.stored <> p.by_default
$$;

-- All lines of the database, or those of one catalog.
CREATE FUNCTION pg_temp.lines(wanted name DEFAULT NULL) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT pg_temp.lines_of(c.oid)
      FROM pg_class AS c
     WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r' AND NOT c.relisshared AND c.relname = coalesce(wanted, c.relname)
       AND c.relname NOT IN ('pg_init_privs', 'pg_statistic', 'pg_statistic_ext_data', 'pg_largeobject', 'pg_largeobject_metadata')
    UNION ALL SELECT pg_temp.first_privileges() WHERE coalesce(wanted, 'pg_init_privs') = 'pg_init_privs'
    UNION ALL SELECT concat_ws(' | ', 'pg_db_role_setting', setrole::regrole, 'setconfig', setconfig)
      FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND coalesce(wanted, 'pg_db_role_setting') = 'pg_db_role_setting'
$$;
