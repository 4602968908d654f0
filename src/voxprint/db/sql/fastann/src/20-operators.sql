-- The operators that an index can answer: ORDER BY column <-> vector LIMIT n.
--
-- pgvector has them for two vectors. For the other pairings of real[] and vector we add
-- functions whose body PostgreSQL inlines, so that the planner sees pgvector's own operator on
-- the very expression that is indexed. A real[] column is indexed as
-- ((feature::vector(192))), so the cast of the left operand must carry the 192 of the shipped
-- models: another length is an error with both numbers, and a real[] column of another
-- length is searched as feature::vector(512) <-> query::vector(512). A vector column brings its
-- length along, so a real[] query against it needs none.
-- Bodies in SQL-standard form hold object ids, no names: no search_path can bend them.

CREATE FUNCTION fastann._l2(a real[], b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<->) b::@extschema:vector@.vector(192);

CREATE OPERATOR @extschema@.<-> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = fastann._l2
);

CREATE FUNCTION fastann._l2(a real[], b @extschema:vector@.vector)
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<->) b;

CREATE OPERATOR @extschema@.<-> (
    LEFTARG = real[], RIGHTARG = @extschema:vector@.vector, FUNCTION = fastann._l2
);

CREATE FUNCTION fastann._l2(a @extschema:vector@.vector, b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a OPERATOR(@extschema:vector@.<->) b::@extschema:vector@.vector;

CREATE OPERATOR @extschema@.<-> (
    LEFTARG = @extschema:vector@.vector, RIGHTARG = real[], FUNCTION = fastann._l2
);

CREATE FUNCTION fastann._negative_inner_product(a real[], b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<#>) b::@extschema:vector@.vector(192);

CREATE OPERATOR @extschema@.<#> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = fastann._negative_inner_product
);

CREATE FUNCTION fastann._negative_inner_product(a real[], b @extschema:vector@.vector)
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<#>) b;

CREATE OPERATOR @extschema@.<#> (
    LEFTARG = real[], RIGHTARG = @extschema:vector@.vector, FUNCTION = fastann._negative_inner_product
);

CREATE FUNCTION fastann._negative_inner_product(a @extschema:vector@.vector, b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a OPERATOR(@extschema:vector@.<#>) b::@extschema:vector@.vector;

CREATE OPERATOR @extschema@.<#> (
    LEFTARG = @extschema:vector@.vector, RIGHTARG = real[], FUNCTION = fastann._negative_inner_product
);

CREATE FUNCTION fastann._cosine(a real[], b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<=>) b::@extschema:vector@.vector(192);

CREATE OPERATOR @extschema@.<=> (
    LEFTARG = real[], RIGHTARG = real[], FUNCTION = fastann._cosine
);

CREATE FUNCTION fastann._cosine(a real[], b @extschema:vector@.vector)
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a::@extschema:vector@.vector(192) OPERATOR(@extschema:vector@.<=>) b;

CREATE OPERATOR @extschema@.<=> (
    LEFTARG = real[], RIGHTARG = @extschema:vector@.vector, FUNCTION = fastann._cosine
);

CREATE FUNCTION fastann._cosine(a @extschema:vector@.vector, b real[])
RETURNS double precision LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN a OPERATOR(@extschema:vector@.<=>) b::@extschema:vector@.vector;

CREATE OPERATOR @extschema@.<=> (
    LEFTARG = @extschema:vector@.vector, RIGHTARG = real[], FUNCTION = fastann._cosine
);
