-- superuser only: begin
-- Once more, for this part may run alone.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- USING ann(feature): pgvector's HNSW under the article's name. The operator classes have
-- pgvector's names, and L2 is the default, as in fastann.

CREATE ACCESS METHOD ann TYPE INDEX HANDLER @extschema:vector@.hnswhandler;
COMMENT ON ACCESS METHOD ann IS 'pgvector''s HNSW under the name that fastann gave it';

CREATE OPERATOR CLASS @extschema@.vector_l2_ops
    DEFAULT FOR TYPE @extschema:vector@.vector USING ann AS
    OPERATOR 1 @extschema:vector@.<-> (@extschema:vector@.vector, @extschema:vector@.vector)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.vector_l2_squared_distance
        (@extschema:vector@.vector, @extschema:vector@.vector);

CREATE OPERATOR CLASS @extschema@.vector_ip_ops
    FOR TYPE @extschema:vector@.vector USING ann AS
    OPERATOR 1 @extschema:vector@.<#> (@extschema:vector@.vector, @extschema:vector@.vector)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.vector_negative_inner_product
        (@extschema:vector@.vector, @extschema:vector@.vector);

CREATE OPERATOR CLASS @extschema@.vector_cosine_ops
    FOR TYPE @extschema:vector@.vector USING ann AS
    OPERATOR 1 @extschema:vector@.<=> (@extschema:vector@.vector, @extschema:vector@.vector)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.vector_negative_inner_product
        (@extschema:vector@.vector, @extschema:vector@.vector),
    FUNCTION 2 @extschema:vector@.vector_norm (@extschema:vector@.vector);

CREATE OPERATOR CLASS @extschema@.halfvec_l2_ops
    DEFAULT FOR TYPE @extschema:vector@.halfvec USING ann AS
    OPERATOR 1 @extschema:vector@.<-> (@extschema:vector@.halfvec, @extschema:vector@.halfvec)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.halfvec_l2_squared_distance
        (@extschema:vector@.halfvec, @extschema:vector@.halfvec),
    FUNCTION 3 @extschema:vector@.hnsw_halfvec_support (internal);

CREATE OPERATOR CLASS @extschema@.halfvec_ip_ops
    FOR TYPE @extschema:vector@.halfvec USING ann AS
    OPERATOR 1 @extschema:vector@.<#> (@extschema:vector@.halfvec, @extschema:vector@.halfvec)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.halfvec_negative_inner_product
        (@extschema:vector@.halfvec, @extschema:vector@.halfvec),
    FUNCTION 3 @extschema:vector@.hnsw_halfvec_support (internal);

CREATE OPERATOR CLASS @extschema@.halfvec_cosine_ops
    FOR TYPE @extschema:vector@.halfvec USING ann AS
    OPERATOR 1 @extschema:vector@.<=> (@extschema:vector@.halfvec, @extschema:vector@.halfvec)
        FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 @extschema:vector@.halfvec_negative_inner_product
        (@extschema:vector@.halfvec, @extschema:vector@.halfvec),
    FUNCTION 2 @extschema:vector@.l2_norm (@extschema:vector@.halfvec),
    FUNCTION 3 @extschema:vector@.hnsw_halfvec_support (internal);
-- superuser only: end
