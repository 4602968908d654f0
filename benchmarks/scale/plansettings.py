"""The settings of plain SQL that are tried: how far the index goes, and when it is chosen."""

from __future__ import annotations

#: What the embedded server has.
SHIPPED = {
    "hnsw.ef_search": "40",
    "hnsw.iterative_scan": "off",
    "hnsw.max_scan_tuples": "20000",
    "hnsw.scan_mem_multiplier": "1",
    "work_mem": "4MB",
    "random_page_cost": "4",
    "effective_cache_size": "4GB",
    "enable_indexscan": "on",
}
#: Not for use, but what completeness costs: it turns off B-trees that give an order, too.
EXACT = "exact (enable_indexscan off)"
#: Limits of an iterative scan that no scan here reaches.
_FREE = {
    "hnsw.max_scan_tuples": "2147483647",
    "hnsw.scan_mem_multiplier": "16",
    "work_mem": "64MB",
}
_EFS = (40, 100, 200, 400, 1000)

Settings = dict[str, str]


def grid() -> dict[str, Settings]:
    """Settings by the name that the tables give them."""
    found = {}
    for scan in ("off", "relaxed_order", "strict_order"):
        for ef in _EFS:
            found[f"{scan} {ef}"] = _with(_FREE, scan=scan, ef=ef)
    found["off 40"] = SHIPPED
    for scanned in ("20000", "100000", "2147483647"):
        for multiplier, memory in (("1", "4MB"), ("16", "4MB"), ("1", "64MB"), ("4", "16MB")):
            limits = {
                "hnsw.max_scan_tuples": scanned,
                "hnsw.scan_mem_multiplier": multiplier,
                "work_mem": memory,
            }
            if scanned == "2147483647" or multiplier == "1":
                label = f"relaxed_order 200, {_scanned(scanned)}, {multiplier} x {memory}"
                found[label] = _with(limits, scan="relaxed_order", ef=200)
    return found | planning()


def planning() -> dict[str, Settings]:
    """When the planner prefers another way: tried with small and with large buffers."""
    tried = {
        "off 40": SHIPPED,
        "off 40, page cost 1.1": SHIPPED | {"random_page_cost": "1.1"},
    }
    for ef in (200, 1000):
        base = _with(_FREE, scan="relaxed_order", ef=ef)
        tried[f"relaxed_order {ef}"] = base
        tried[f"relaxed_order {ef}, page cost 1.1"] = base | {"random_page_cost": "1.1"}
    tried["relaxed_order 1000, page cost 10"] = base | {"random_page_cost": "10"}
    large = {"effective_cache_size": "16GB"}
    tried["relaxed_order 1000, cache 16GB"] = base | large
    tried["relaxed_order 1000, page cost 1.1, cache 16GB"] = (
        base | large | {"random_page_cost": "1.1"}
    )
    tried[EXACT] = SHIPPED | {"enable_indexscan": "off"}
    return tried


def _with(limits: Settings, *, scan: str, ef: int) -> Settings:
    own = {"hnsw.iterative_scan": scan, "hnsw.ef_search": str(ef)}
    return SHIPPED | limits | own


def _scanned(tuples: str) -> str:
    return "all tuples" if tuples == "2147483647" else f"{tuples} tuples"
