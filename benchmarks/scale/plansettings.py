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
    "seq_page_cost": "1",
    "effective_cache_size": "4GB",
    "enable_indexscan": "on",
}
#: Not for use, but what completeness costs: it turns off B-trees that give an order, too.
EXACT = "exact (enable_indexscan off)"
_FEW, _ALL = "20000", "2147483647"
#: Limits of an iterative scan that no scan here reaches.
_FREE = {
    "hnsw.max_scan_tuples": _ALL,
    "hnsw.scan_mem_multiplier": "16",
    "work_mem": "64MB",
}
_EFS = (40, 100, 200, 400, 1000)
#: A random page and a sequential one. HNSW is costed by random pages, a scan by sequential ones,
#: the bitmap of a B-tree in between.
_PAGES = (("1.1", "1"), ("6", "1"), ("8", "1"), ("10", "1"), ("10", "2"), ("20", "5"))

Settings = dict[str, str]


def grid() -> dict[str, Settings]:
    """Settings by the name that the tables give them."""
    found = {}
    for scan in ("off", "relaxed_order", "strict_order"):
        for ef in _EFS:
            found[f"{scan} {ef}"] = _with(_FREE, scan=scan, ef=ef)
    found["off 40"] = SHIPPED
    for scanned, memory, multiplier in (
        (_FEW, "4MB", "1"),
        (_FEW, "64MB", "16"),
        (_ALL, "4MB", "1"),
        (_ALL, "4MB", "16"),
        (_ALL, "64MB", "1"),
    ):
        limits = {
            "hnsw.max_scan_tuples": scanned,
            "hnsw.scan_mem_multiplier": multiplier,
            "work_mem": memory,
        }
        label = f"{'all' if scanned == _ALL else scanned} tuples, {multiplier} x {memory}"
        found[f"relaxed_order 200, {label}"] = _with(limits, scan="relaxed_order", ef=200)
    return found | planning()


def planning() -> dict[str, Settings]:
    """When the planner prefers another way: tried with small and with large buffers."""
    tried = {"off 40": SHIPPED, "off 40, page costs 1.1 / 1": SHIPPED | _pages("1.1")}
    for ef in (200, 1000):
        free = _with(_FREE, scan="relaxed_order", ef=ef)
        tried[f"relaxed_order {ef}"] = free
        for random, sequential in _PAGES:
            label = f"relaxed_order {ef}, page costs {random} / {sequential}"
            tried[label] = free | _pages(random, sequential)
    cached = _with(_FREE, scan="relaxed_order", ef=1000) | {"effective_cache_size": "16GB"}
    tried["relaxed_order 1000, cache 16GB"] = cached
    tried["relaxed_order 1000, page costs 1.1 / 1, cache 16GB"] = cached | _pages("1.1")
    tried[EXACT] = SHIPPED | {"enable_indexscan": "off"}
    return tried


def _pages(random: str, sequential: str = "1") -> Settings:
    return {"random_page_cost": random, "seq_page_cost": sequential}


def _with(limits: Settings, *, scan: str, ef: int) -> Settings:
    own = {"hnsw.iterative_scan": scan, "hnsw.ef_search": str(ef)}
    return SHIPPED | limits | own
